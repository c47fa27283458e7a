# %% [markdown]
# # Your own task
#
# Six patterns with Gaussian inputs at all four times drive the network. It is trained on targets at
# two of the four output times. You can use any arrays of these shapes: inputs (pattern, time, feature),
# targets (pattern, output time), with NaN where there is no target.

# %%
import numpy as np

import weightsharing as ws

generator = np.random.default_rng(1)
targets = np.full((6, 4), np.nan)
targets[:, [1, 3]] = generator.normal(size=(6, 2))
task = ws.Task(generator.normal(size=(6, 4, 3)), targets)

# %% [markdown]
# For a bias, append a column of ones to the inputs. The theories of RNN and DNN differ only in that
# the steps of an RNN share their weights.

# %%
kappa = 0.2
for network in (ws.rnn(steps=4, w=0.8), ws.dnn(steps=4, w=0.8)):
    theory = ws.solve(task, network, kappa)
    draws = ws.sample(task, network, kappa, width=128, theory=theory, draws=200)
    report = ws.compare(theory, draws)
    print(
        f"{network.kind.upper()}: action {float(theory.action[0]):.4f}, alignment of kernels (CKA) "
        f"{float(report.alignment):.4f}, converged: {'yes' if report.converged else report.faults}"
    )

# %% [markdown]
# Kernels and outputs of the last network of the loop, the DNN, with error bars and targets:

# %%
ws.plot.kernels(theory, draws)
ws.plot.outputs(theory, draws)
