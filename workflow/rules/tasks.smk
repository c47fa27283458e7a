localrules:
    resolve,
    all,


rule resolve:
    output:
        f"{RESULTS}/{{run}}/run.yaml",
    log:
        f"{LOGS}/{{run}}/resolve.log",
    conda:
        "../../environment.yml"
    params:
        # The parameters are the rule's only input: a run whose parameters did not change is not
        # resolved again, whatever else changed in config.yaml.
        run=lambda wildcards: RUNS[wildcards.run].model_dump_json(),
    shell:
        "python -m weightsharing resolve {params.run:q} {output:q} 2> {log:q}"


rule task:
    input:
        run=rules.resolve.output,
        code=code("task"),
    output:
        f"{RESULTS}/{{run}}/task.nc",
    log:
        f"{LOGS}/{{run}}/task.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m weightsharing task {input.run:q} {output:q} 2> {log:q}"
