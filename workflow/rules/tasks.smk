localrules:
    resolve,
    resolve_scan,
    all,


rule resolve:
    # One process writes both files, because its start takes longer than its work.
    output:
        run=f"{RESULTS}/{{run}}/run.yaml",
        task=f"{RESULTS}/{{run}}/task.nc",
    log:
        f"{LOGS}/{{run}}/resolve.log",
    conda:
        "../../environment.yml"
    params:
        code=code("cli:resolve"),
        # Only a run whose parameters have changed in config.yaml is resolved again.
        run=lambda wildcards: RUNS[wildcards.run].model_dump_json(),
    shell:
        "python -m weightsharing resolve {params.run:q} {output.run:q} --task {output.task:q}"
        " 2> {log:q}"


rule resolve_scan:
    output:
        f"{RESULTS}/{{scan}}/run.yaml",
    log:
        f"{LOGS}/{{scan}}/resolve.log",
    conda:
        "../../environment.yml"
    params:
        run=lambda wildcards: RUNS[wildcards.scan].model_dump_json(),
    shell:
        "python -m weightsharing resolve {params.run:q} {output:q} 2> {log:q}"
