# One rule for each study of the configuration: snakemake studies/NAME --configfile mine.yaml
for study in CONFIG.studies:

    rule:
        name:
            f"studies/{study}"
        input:
            results=results_of(name for name in STUDY_RUNS if name.startswith(f"studies/{study}/")),
            others=belongs_to(
                "study",
                [f"{RESULTS}/studies/{study}.nc", f"figures/studies/{study}.pdf"],
                lambda wildcards, study=study: study_part(CONFIG, study),
                "cli:study",
            ),
        output:
            data=f"{RESULTS}/studies/{study}.nc",
            table=f"{RESULTS}/studies/{study}.csv",
            figure=[f"figures/studies/{study}.{kind}" for kind in ("pdf", "png")],
        log:
            f"{LOGS}/studies/{study}.log",
        benchmark:
            f"{BENCHMARKS}/studies/{study}.tsv"
        conda:
            "../../environment.yml"
        threads: 2
        params:
            code=code("cli:study"),
            name=study,
            config=study_part(CONFIG, study).model_dump_json(),
        shell:
            "python -m weightsharing study {params.name} {output.data:q} --table {output.table:q}"
            " --figure {output.figure:q} --config {params.config:q} --results {input.results:q}"
            " --threads {threads} --code {params.code} 2> {log:q}"
