rule theory:
    input:
        run=rules.resolve.output,
        task=rules.task.output,
        code=code("theory"),
    output:
        f"{RESULTS}/{{run}}/theory.nc",
    log:
        f"{LOGS}/{{run}}/theory.log",
    benchmark:
        f"{BENCHMARKS}/{{run}}/theory.tsv"
    conda:
        "../../environment.yml"
    shell:
        "python -m weightsharing theory {input.run:q} {input.task:q} {output:q} 2> {log:q}"


rule transition:
    input:
        run=rules.resolve.output,
        code=code("transition"),
    output:
        f"{RESULTS}/{{run}}/transition.nc",
    log:
        f"{LOGS}/{{run}}/transition.log",
    benchmark:
        f"{BENCHMARKS}/{{run}}/transition.tsv"
    conda:
        "../../environment.yml"
    shell:
        "python -m weightsharing transition {input.run:q} {output:q} 2> {log:q}"
