rule sample:
    input:
        run=rules.resolve.output,
        task=rules.task.output,
        theory=branch_to_start_from,
        code=code("sample"),
    output:
        f"{RESULTS}/{{run}}/samples.nc",
    log:
        f"{LOGS}/{{run}}/sample.log",
    benchmark:
        f"{BENCHMARKS}/{{run}}/sample.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    params:
        # Not an output: Snakemake deletes outputs before a rerun, and a rerun is to resume from it.
        checkpoint=f"{RESULTS}/checkpoints/{{run}}.safetensors",
        theory=lambda wildcards, input: (
            f"--theory {quote(str(input.theory))}" if input.theory else ""
        ),
    shell:
        "python -m weightsharing sample {input.run:q} {input.task:q} {output:q} {params.theory}"
        " --checkpoint {params.checkpoint:q} --threads {threads} 2>&1 | tee {log:q}"


rule measure:
    input:
        run=rules.resolve.output,
        task=rules.task.output,
        theory=rules.theory.output,
        samples=rules.sample.output,
        code=code("measure"),
    output:
        f"{RESULTS}/{{run}}/measures.nc",
    log:
        f"{LOGS}/{{run}}/measure.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m weightsharing measure {input.run:q} {input.task:q} {input.theory:q} {input.samples:q}"
        " {output:q} 2> {log:q}"
