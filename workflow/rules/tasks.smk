rule resolve:
    input:
        belongs_to("run", [f"{RESULTS}/{{run}}/run.yaml"], run_of, "cli:resolve"),
        belongs_to("task", [f"{RESULTS}/{{run}}/task.nc"], run_of, "cli:resolve"),
    # One process writes both files, because its start takes longer than its work.
    output:
        run=f"{RESULTS}/{{run}}/run.yaml",
        task=f"{RESULTS}/{{run}}/task.nc",
    log:
        f"{LOGS}/{{run}}/resolve.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        code=code("cli:resolve"),
        # Only a run whose parameters have changed in config.yaml is resolved again.
        run=lambda wildcards: RUNS[wildcards.run].model_dump_json(),
    shell:
        "python -m weightsharing resolve {params.run:q} {output.run:q} --task {output.task:q}"
        " --code {params.code} 2> {log:q}"


rule resolve_scan:
    input:
        belongs_to("run", [f"{RESULTS}/{{scan}}/run.yaml"], scan_of, "cli:resolve"),
    output:
        f"{RESULTS}/{{scan}}/run.yaml",
    log:
        f"{LOGS}/{{scan}}/resolve.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        code=code("cli:resolve"),
        run=lambda wildcards: RUNS[wildcards.scan].model_dump_json(),
    shell:
        "python -m weightsharing resolve {params.run:q} {output:q} --code {params.code} 2> {log:q}"
