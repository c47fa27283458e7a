# Recomputes the figures of "A unified theory of feature learning in RNNs and DNNs".
#   snakemake figures/fig4.pdf     one figure
#   snakemake                      all figures, the scorecard of their claims and a table of all runs
#   snakemake archive              review/<preset>.zip: figures, scorecard, measures
from snakemake.utils import min_version

min_version("9.0")


include: "workflow/rules/checks.smk"


configfile: str(CONFIG_FILE)


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/tasks.smk"
include: "workflow/rules/theory.smk"
include: "workflow/rules/sampling.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/review.smk"
include: "workflow/rules/studies.smk"


rule all:
    default_target: True
    input:
        [f"figures/{name}.{kind}" for name in FIGURES for kind in ("pdf", "rst")],
        rules.scorecard.output,
        rules.runs.output,
    localrule: True
