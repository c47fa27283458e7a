# Made where Snakemake runs, also on a cluster: each takes seconds.
CLAIMS = [f"figures.{name}.claims" for name in FIGURES]


rule scorecard:
    input:
        results=results_of(FIGURE_RUNS),
        others=belongs_to(
            "scorecard",
            [f"{RESULTS}/scorecard.html"],
            lambda wildcards: ALL_FIGURES,
            "cli:scorecard",
            *CLAIMS,
        ),
    output:
        **page_and_table("scorecard", "every claim of the captions"),
    log:
        f"{LOGS}/scorecard.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        code=code("cli:scorecard", *CLAIMS),
        config=ALL_FIGURES.model_dump_json(),
    shell:
        "python -m weightsharing scorecard {output.table:q} --page {output.page:q}"
        " --config {params.config:q} --results {input.results:q} --code {params.code} 2> {log:q}"


rule runs:
    input:
        results=results_of(TRAINED),
        others=belongs_to(
            "runs", [f"{RESULTS}/runs.html"], lambda wildcards: ALL_FIGURES, "cli:runs"
        ),
    output:
        **page_and_table("runs", "every run"),
    log:
        f"{LOGS}/runs.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        code=code("cli:runs"),
        config=ALL_FIGURES.model_dump_json(),
    shell:
        "python -m weightsharing runs {output.table:q} --page {output.page:q}"
        " --config {params.config:q} --results {input.results:q} --code {params.code} 2> {log:q}"


rule review:
    input:
        template=local(str(SOURCE / "weightsharing/review/page.html")),
        figures=[f"figures/{name}.png" for name in FIGURES],
        captions=[f"figures/{name}.rst" for name in FIGURES],
        results=results_of(FIGURE_RUNS),
        others=belongs_to(
            "review",
            [f"review/{CONFIG.preset}.html"],
            lambda wildcards: ALL_FIGURES,
            "cli:review",
            *CLAIMS,
        ),
    output:
        f"review/{CONFIG.preset}.html",
    log:
        f"{LOGS}/review.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        code=code("cli:review", *CLAIMS),
        config=ALL_FIGURES.model_dump_json(),
    shell:
        "python -m weightsharing review {output:q} --config {params.config:q}"
        " --results {input.results:q} --figures {input.figures:q} --captions {input.captions:q}"
        " --code {params.code} 2> {log:q}"


# It depends on no configuration: the grid is in the code.
rule explore:
    input:
        script=local(str(SOURCE / "weightsharing/review/explore.js")),
    output:
        "review/explore.html",
    log:
        f"{LOGS}/explore.log",
    conda:
        "../../environment.yml"
    threads: 2
    params:
        code=code("cli:explore"),
    shell:
        "python -m weightsharing explore {output:q} --threads {threads} --code {params.code} 2> {log:q}"


rule archive:
    input:
        [f"figures/{name}.{kind}" for name in FIGURES for kind in ("pdf", "png", "rst", "txt")],
        rules.scorecard.output,
        rules.runs.output,
        results_of(FIGURE_RUNS),
        [f"{RESULTS}/{name}/run.yaml" for name in FIGURE_RUNS],
    output:
        f"review/{CONFIG.preset}.zip",
    log:
        f"{LOGS}/archive.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        code=code("cli:archive"),
    shell:
        "python -m weightsharing archive {output:q} {input:q} 2> {log:q}"
