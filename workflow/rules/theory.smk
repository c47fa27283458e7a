rule theory:
    input:
        run=rules.resolve.output.run,
        task=rules.resolve.output.task,
        others=belongs_to("theory", [f"{RESULTS}/{{run}}/theory.nc"], run_of, "cli:theory"),
    output:
        f"{RESULTS}/{{run}}/theory.nc",
    log:
        f"{LOGS}/{{run}}/theory.log",
    benchmark:
        f"{BENCHMARKS}/{{run}}/theory.tsv"
    conda:
        "../../environment.yml"
    params:
        code=code("cli:theory"),
    shell:
        "python -m weightsharing theory {input.run:q} {input.task:q} {output:q}"
        " --code {params.code} 2> {log:q}"


rule transition:
    input:
        run=rules.resolve_scan.output,
        others=belongs_to(
            "transition", [f"{RESULTS}/{{scan}}/transition.nc"], scan_of, "cli:transition"
        ),
    output:
        f"{RESULTS}/{{scan}}/transition.nc",
    log:
        f"{LOGS}/{{scan}}/transition.log",
    benchmark:
        f"{BENCHMARKS}/{{scan}}/transition.tsv"
    conda:
        "../../environment.yml"
    params:
        code=code("cli:transition"),
    shell:
        "python -m weightsharing transition {input.run:q} {output:q} --code {params.code} 2> {log:q}"
