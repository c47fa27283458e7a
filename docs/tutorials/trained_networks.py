# %% [markdown]
# # Theory against trained networks
#
# We compare three ways to the same posterior: the theory for N to infinity with its 1/N term, networks
# trained by underdamped Langevin dynamics, and the exact sampler, which integrates the weights out.

# %%
import numpy as np

import weightsharing as ws

task, network, kappa = ws.endpoint(steps=4, signal=5.0), ws.rnn(steps=4), 0.1
theory = ws.solve(task, network, kappa)
trained = ws.sample(task, network, kappa, width=64, method="kinetic", keep_weights=8, spectra=8)
exact = ws.sample(task, network, kappa, width=64)
for name, draws in (("trained", trained), ("exact", exact)):
    report = ws.compare(theory, draws)
    measured, error = float(report.endpoint_kernel), float(report.endpoint_kernel_standard_error)
    expected = float(report.kernel_finite_width[0, 0, -1, -1])
    print(f"{name}: H^(T-1,T-1) is {measured:.3f} +- {error:.3f}, theory at N = 64: {expected:.3f}")

# %% [markdown]
# We did not give a step size: `ws.sample` chose it after a short trial run, which measured the
# curvature of the energy. The result records all settings. `method="sgld"` would use the paper's
# sampler.

# %%
print(trained.attrs["run"])

# %% [markdown]
# We kept the weights of eight draws of each chain. Training adds a matrix of low rank to W. The
# participation ratio of the squared singular values of W, (sum s^2)^2 / sum s^4, estimates how many
# directions contribute. It is N/2 for an untrained W.

# %%
singular = np.linalg.svd(trained.recurrent.to_numpy(), compute_uv=False)
squares = singular**2
ratio = squares.sum(axis=-1) ** 2 / (squares**2).sum(axis=-1)
print(f"participation ratio of W: {ratio.mean():.1f}, untrained {0.5 * trained.sizes['unit']:.1f}")
print(f"largest singular value: {singular[..., 0].mean():.2f}, untrained about 2")

# %%
ws.plot.spectrum(theory, trained)
