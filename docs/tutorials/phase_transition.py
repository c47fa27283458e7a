# %% [markdown]
# # The phase transition in five minutes
#
# A linear RNN with one input at t = 0 and one label y at output time T learns in two ways. Below a
# critical signal strength lambda = y^2, its kernel is that of a DNN. Above it, activities of
# successive time steps align. The order parameter is m = H^(T-1,T-2).

# %%
import numpy as np

import weightsharing as ws

kappa = 0.1
network = ws.rnn(steps=4)
critical = ws.critical_signal(network, kappa)
print(f"lambda_c = {critical:.4f}")

# %% [markdown]
# Theory for infinite width, below and above. DNNs have no such phase.

# %%
for ratio in (0.8, 1.2, 2.0):
    task = ws.endpoint(steps=4, signal=ratio * critical)
    m = [
        abs(float(ws.solve(task, one, kappa).order_parameter[0]))
        for one in (network, ws.dnn(steps=4))
    ]
    print(f"lambda = {ratio} lambda_c: m = {m[0]:.3f} (RNN), {m[1]:.3f} (DNN)")

# %% [markdown]
# Networks of finite width round the transition. The theory knows the law of |m| at N: p(m) is exp(-N
# F(m)) with its 1/N terms. The exact sampler draws networks from the posterior at this N.

# %%
width = 64
for ratio in (0.8, 2.0):
    signal = ratio * critical
    law = ws.order_parameter_law(signal, network, kappa, width)
    task = ws.endpoint(steps=4, signal=signal)
    report = ws.compare(ws.solve(task, network, kappa), ws.sample(task, network, kappa, width))
    measured, error = float(report.order_parameter), float(report.order_parameter_standard_error)
    print(
        f"lambda = {ratio} lambda_c: <|m|> = {measured:.3f} +- {error:.3f}, law of m {law.mean:.3f}"
    )
    assert abs(measured - law.mean) < 5 * error

# %% [markdown]
# F(m) has one minimum below lambda_c and two above.

# %%
grid = np.linspace(0.0, 8.0, 41)
for ratio in (0.8, 2.0):
    curve = ws.landau_curve(ratio * critical, network, kappa, grid)
    lowest = float(curve.idxmin())
    print(f"lambda = {ratio} lambda_c: F is lowest at m = {lowest:.1f}")
