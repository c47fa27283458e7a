# %% [markdown]
# # The phase transition
#
# A linear RNN has one input at t = 0 and one label y at output time T. The signal strength is
# lambda = y^2. Below a critical value lambda_c, the kernel of the RNN is that of a DNN. Above it, the
# activities of successive time steps become correlated. The order parameter is m = H^(T-1,T-2).

# %%
import numpy as np

import weightsharing as ws

kappa = 0.1
network = ws.rnn(steps=4)
critical = ws.critical_signal(network, kappa)
print(f"lambda_c = {critical:.4f}")

# %% [markdown]
# The theory for infinite width, below and above lambda_c. For DNNs m is 0 everywhere.

# %%
for ratio in (0.8, 1.2, 2.0):
    task = ws.endpoint(steps=4, signal=ratio * critical)
    m = [
        abs(float(ws.solve(task, one, kappa).order_parameter[0]))
        for one in (network, ws.dnn(steps=4))
    ]
    print(f"lambda = {ratio} lambda_c: m = {m[0]:.3f} (RNN), {m[1]:.3f} (DNN)")

# %% [markdown]
# At finite width N the transition is smooth. The theory predicts the law of |m|: p(m) is proportional
# to exp(-N F(m)) times a factor that does not depend on N (theory, section 6). F(m) is the lowest action
# of a kernel with this m. The exact sampler draws networks from the posterior at this N.

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
# F(m) has one minimum, m = 0, below lambda_c, and two above, at m and -m. We show m >= 0.

# %%
grid = np.linspace(0.0, 8.0, 41)
for ratio in (0.8, 2.0):
    curve = ws.landau_curve(ratio * critical, network, kappa, grid)
    lowest = float(curve.idxmin())
    print(f"lambda = {ratio} lambda_c: F is lowest at m = {lowest:.1f}")
