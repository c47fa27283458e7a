FIGURE2 = figure2_runs(CONFIG)
FIGURE3 = figure3_runs(CONFIG)
FIGURE4 = figure4_runs(CONFIG)
FIGURE5 = figure5_runs(CONFIG)


# Drawn where Snakemake runs, also on a cluster: a figure takes seconds.
localrules:
    fig2,
    fig3,
    fig4,
    fig5,


rule fig2:
    input:
        measures=[f"{RESULTS}/{run.id}/measures.nc" for run in FIGURE2],
    output:
        "figures/fig2.pdf",
        # Browsers show it inside the report, as they do not show a PDF.
        report(
            "figures/fig2.png",
            caption="../../src/weightsharing/figures/fig2/caption.rst",
            category="Figures",
            labels=figure_labels("2"),
        ),
    log:
        f"{LOGS}/fig2.log",
    benchmark:
        f"{BENCHMARKS}/fig2.tsv"
    conda:
        "../../environment.yml"
    params:
        code=code("fig2"),
        shown=CONFIG.fig2.shown,
    shell:
        "python -m weightsharing fig2 {output:q} --measures {input.measures:q}"
        " --shown {params.shown} 2> {log:q}"


rule fig3:
    input:
        measures=[f"{RESULTS}/{run.id}/measures.nc" for run in FIGURE3],
    output:
        "figures/fig3.pdf",
        # Browsers show it inside the report, as they do not show a PDF.
        report(
            "figures/fig3.png",
            caption="../../src/weightsharing/figures/fig3/caption.rst",
            category="Figures",
            labels=figure_labels("3"),
        ),
    log:
        f"{LOGS}/fig3.log",
    benchmark:
        f"{BENCHMARKS}/fig3.tsv"
    conda:
        "../../environment.yml"
    params:
        code=code("fig3"),
    shell:
        "python -m weightsharing fig3 {output:q} --measures {input.measures:q} 2> {log:q}"


rule fig4:
    input:
        transitions=[
            f"{RESULTS}/{run.id}/transition.nc" for run in FIGURE4 if isinstance(run, Transition)
        ],
        measures=[
            f"{RESULTS}/{run.id}/measures.nc" for run in FIGURE4 if not isinstance(run, Transition)
        ],
    output:
        "figures/fig4.pdf",
        # Browsers show it inside the report, as they do not show a PDF.
        report(
            "figures/fig4.png",
            caption="../../src/weightsharing/figures/fig4/caption.rst",
            category="Figures",
            labels=figure_labels("4"),
        ),
    log:
        f"{LOGS}/fig4.log",
    benchmark:
        f"{BENCHMARKS}/fig4.tsv"
    conda:
        "../../environment.yml"
    params:
        code=code("fig4"),
    shell:
        "python -m weightsharing fig4 {output:q} --transitions {input.transitions:q}"
        " --measures {input.measures:q} 2> {log:q}"


rule fig5:
    input:
        measures=[f"{RESULTS}/{run.id}/measures.nc" for run in FIGURE5],
    output:
        "figures/fig5.pdf",
        # Browsers show it inside the report, as they do not show a PDF.
        report(
            "figures/fig5.png",
            caption="../../src/weightsharing/figures/fig5/caption.rst",
            category="Figures",
            labels=figure_labels("5"),
        ),
    log:
        f"{LOGS}/fig5.log",
    benchmark:
        f"{BENCHMARKS}/fig5.tsv"
    conda:
        "../../environment.yml"
    params:
        code=code("fig5"),
        period=CONFIG.fig5.period,
        shown=CONFIG.fig5.shown,
    shell:
        "python -m weightsharing fig5 {output:q} --period {params.period}"
        " --measures {input.measures:q} --shown {params.shown} 2> {log:q}"
