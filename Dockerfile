# The README's first command in a container, and the other programs: see docs/run_anywhere.md.
FROM python:3.13-slim-trixie

# A home that whoever `docker run --user` names can write to.
ENV HOME=/home/deepmds \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
RUN useradd --uid 1000 --create-home deepmds && chmod 1777 /home/deepmds
WORKDIR /deepmds_jax

# All that is installed besides the code, from setup.cfg without its packages: as long as neither
# changes, this layer is kept. JAX is an extra of jax: cpu, or cuda13 for NVIDIA's cards.
ARG JAX=cpu
COPY pyproject.toml setup.cfg ./
RUN sed -i '/^packages =$/,/^install_requires =$/{/^install_requires =$/!d}' setup.cfg \
    && pip install '.[all]' "jax[$JAX]" && rm -r build *.egg-info

COPY . .
RUN pip install --no-deps --editable . && install --directory --mode=1777 out

USER 1000
CMD ["bin/reconstruct", "examples", "--image=examples"]
