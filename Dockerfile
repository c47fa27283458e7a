# The versions of requirements.lock, for the CPU:
#   docker build -t weightsharing . && docker run -v "$PWD/figures:/repository/figures" weightsharing make figures/fig4.pdf
FROM python:3.13-slim
RUN apt-get update && apt-get install --yes --no-install-recommends git make && rm -rf /var/lib/apt/lists/*
WORKDIR /repository
COPY . .
RUN make CPU=1 .venv/.installed
CMD ["make", "all"]
