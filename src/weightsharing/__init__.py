"""Feature learning in RNNs and DNNs: kernel theory and Langevin training, side by side.

RNNs are DNNs with shared weights. This package solves the large-width kernel theory of both,
trains both by Langevin dynamics, measures both with the same code and draws one against the
other. It knows nothing of Snakemake; ``python -m weightsharing --help`` lists its verbs.
"""
