TRAINED = [run.id for run in RUNS.values() if isinstance(run, Run)]
SCANS = [run.id for run in RUNS.values() if isinstance(run, Transition)]
FIGURES = [f"figures/fig{number}.{kind}" for number in "2345" for kind in ("pdf", "png")]


# Made where Snakemake runs, also on a cluster: each takes seconds.
localrules:
    scorecard,
    runs,
    archive,


rule scorecard:
    input:
        measures=[f"{RESULTS}/{name}/measures.nc" for name in TRAINED],
        transitions=[f"{RESULTS}/{name}/transition.nc" for name in SCANS],
    output:
        page=report(
            f"{RESULTS}/scorecard.html",
            caption="../report/scorecard.rst",
            category="Scorecard",
            labels={"scorecard": "every claim of the captions"},
        ),
        table=report(
            f"{RESULTS}/scorecard.tsv",
            caption="../report/scorecard.rst",
            category="Scorecard",
            labels={"scorecard": "the same as a table"},
        ),
    log:
        f"{LOGS}/scorecard.log",
    conda:
        "../../environment.yml"
    params:
        code=code("scorecard"),
    shell:
        "python -m weightsharing scorecard {output.table:q} --page {output.page:q}"
        " --measures {input.measures:q} --transitions {input.transitions:q} 2> {log:q}"


rule runs:
    input:
        samples=[f"{RESULTS}/{name}/samples.nc" for name in TRAINED],
        measures=[f"{RESULTS}/{name}/measures.nc" for name in TRAINED],
    output:
        page=report(
            f"{RESULTS}/runs.html",
            caption="../report/runs.rst",
            category="Runs",
            labels={"runs": "every run"},
        ),
        table=report(
            f"{RESULTS}/runs.tsv",
            caption="../report/runs.rst",
            category="Runs",
            labels={"runs": "the same as a table"},
        ),
    log:
        f"{LOGS}/runs.log",
    conda:
        "../../environment.yml"
    params:
        code=code("runs"),
    shell:
        "python -m weightsharing runs {output.table:q} --page {output.page:q}"
        " --samples {input.samples:q} --measures {input.measures:q} 2> {log:q}"


rule archive:
    input:
        figures=FIGURES,
        tables=[*rules.scorecard.output, *rules.runs.output],
        results=[*rules.scorecard.input.measures, *rules.scorecard.input.transitions],
        runs=[f"{RESULTS}/{name}/run.yaml" for name in RUNS],
    output:
        f"review/{CONFIG.preset}.zip",
    log:
        f"{LOGS}/archive.log",
    conda:
        "../../environment.yml"
    params:
        code=code("archive"),
    shell:
        "python -m weightsharing archive {output:q} {input.figures:q} {input.tables:q}"
        " {input.results:q} {input.runs:q} 2> {log:q}"
