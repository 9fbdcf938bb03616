# Debian's Prometheus in the place of prom/prometheus, for where no registry is at hand.
ARG BASE
FROM ${BASE}
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends prometheus \
 && rm -rf /var/lib/apt/lists/* \
 && mkdir -p /prometheus && chown nobody /prometheus
VOLUME ["/prometheus"]
USER nobody
ENTRYPOINT ["/usr/bin/prometheus"]
