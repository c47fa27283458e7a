# One rule for each figure, with its name. A figure takes seconds, so it is drawn where Snakemake runs.
for name, figure in FIGURES.items():

    rule:
        name:
            name
        input:
            results_of(run.id for run in figure_runs(CONFIG, name)),
        output:
            f"figures/{name}.pdf",
            # Browsers show it inside the report, as they do not show a PDF.
            report(
                f"figures/{name}.png",
                caption=Path(f"figures/{name}.rst").resolve(),
                category="Figures",
                labels=verdicts(figure.number),
            ),
        log:
            f"{LOGS}/{name}.log",
        benchmark:
            f"{BENCHMARKS}/{name}.tsv"
        localrule: True
        conda:
            "../../environment.yml"
        params:
            code=code("cli:figure", f"figures.{name}.plot"),
            name=name,
            section=CONFIG.section(name).model_dump_json(),
        shell:
            "python -m weightsharing figure {params.name} {output:q} --section {params.section:q}"
            " --results {input:q} 2> {log:q}"


rule caption:
    input:
        template=lambda wildcards: FIGURES[wildcards.figure].caption,
        scorecard=f"{RESULTS}/scorecard.tsv",
    output:
        "figures/{figure}.rst",
    log:
        f"{LOGS}/{{figure}}-caption.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        code=code("cli:caption"),
        section=lambda wildcards: CONFIG.section(wildcards.figure).model_dump_json(),
        seed=CONFIG.seed,
    shell:
        "python -m weightsharing caption {wildcards.figure} {output:q} --section {params.section:q}"
        " --seed {params.seed} --scorecard {input.scorecard:q} 2> {log:q}"
