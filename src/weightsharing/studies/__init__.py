"""Studies: a question of one's own, by a few lines of configuration (docs/extending.md).

section    what a study is: networks, a task, a grid of parameters, samplers
theory     the theory at all points of the grid
collect    theory and measures as one dataset with the grid as axes
plot       lines and symbols, or a map
"""
