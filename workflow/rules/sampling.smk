rule sample:
    input:
        run=rules.resolve.output.run,
        task=rules.resolve.output.task,
        theory=branch_to_start_from,
        others=belongs_to(
            "samples", [f"{RESULTS}/{{run}}/samples.nc"], run_of, "cli:sample", algorithm_of
        ),
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
        # A chain depends on its own sampler, not on the others.
        code=lambda wildcards: code("cli:sample", algorithm_of(wildcards)),
        # It is no output: Snakemake deletes outputs before a rerun, but a rerun resumes from this.
        # That of a finished chain stays until `measure` removes it.
        checkpoint=PLACE(f"{RESULTS}/checkpoints/{{run}}.npz"),
        theory=lambda wildcards, input: option("--theory", input.theory),
    shell:
        # tee -i survives Ctrl-C and passes on at which step the chain was interrupted.
        "python -m weightsharing sample {input.run:q} {input.task:q} {output:q} {params.theory}"
        " --checkpoint {params.checkpoint:q} --threads {threads} --code {params.code} 2>&1 | tee -i {log:q}"


rule measure:
    input:
        run=rules.resolve.output.run,
        task=rules.resolve.output.task,
        samples=rules.sample.output,
        theory=theory_to_compare_with,
        others=belongs_to("measures", [f"{RESULTS}/{{run}}/measures.nc"], run_of, "cli:measure"),
    output:
        f"{RESULTS}/{{run}}/measures.nc",
    log:
        f"{LOGS}/{{run}}/measure.log",
    benchmark:
        f"{BENCHMARKS}/{{run}}/measure.tsv"
    conda:
        "../../environment.yml"
    params:
        code=code("cli:measure"),
        checkpoint=PLACE(f"{RESULTS}/checkpoints/{{run}}.npz"),
        theory=lambda wildcards, input: option("--theory", input.theory),
    shell:
        "python -m weightsharing measure {input.run:q} {input.task:q} {input.samples:q} {output:q}"
        " {params.theory} --checkpoint {params.checkpoint:q} --code {params.code} 2> {log:q}"
