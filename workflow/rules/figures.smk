# One rule for each figure, with its name. A figure takes seconds, so it is drawn where Snakemake runs.
for name, figure in FIGURES.items():

    rule:
        name:
            name
        input:
            results=results_of(run.id for run in figure_runs(CONFIG, name)),
            others=belongs_to(
                "figure",
                [f"figures/{name}.pdf", f"figures/{name}.png"],
                part_of(name),
                "cli:figure",
                f"figures.{name}.plot",
            ),
        output:
            f"figures/{name}.pdf",
            # Browsers show it inside the report, as they do not show a PDF.
            report(
                f"figures/{name}.png",
                caption=Path(PLACE(f"figures/{name}.rst")).resolve(),
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
            config=part(CONFIG, name).model_dump_json(),
        shell:
            "python -m weightsharing figure {params.name} {output:q} --config {params.config:q}"
            " --results {input.results:q} --code {params.code} 2> {log:q}"


rule caption:
    input:
        template=lambda wildcards: FIGURES[wildcards.figure].caption,
        results=lambda wildcards: results_of(
            run.id for run in figure_runs(CONFIG, wildcards.figure)
        ),
        others=belongs_to(
            "caption",
            ["figures/{figure}.rst", "figures/{figure}.txt"],
            lambda wildcards: part(CONFIG, wildcards.figure),
            "cli:caption",
            claims_of,
        ),
    output:
        page="figures/{figure}.rst",
        text="figures/{figure}.txt",
    log:
        f"{LOGS}/{{figure}}-caption.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        code=lambda wildcards: code("cli:caption", claims_of(wildcards)),
        config=lambda wildcards: part(CONFIG, wildcards.figure).model_dump_json(),
    shell:
        "python -m weightsharing caption {wildcards.figure} {output.page:q} --text {output.text:q}"
        " --config {params.config:q} --results {input.results:q} --code {params.code} 2> {log:q}"
