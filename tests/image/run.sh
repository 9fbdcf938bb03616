#!/usr/bin/env bash
# Builds the CPU image and Prometheus', runs tests/image on them, and removes what it built.
# As root on Debian, with buildah, podman, runc, netavark, aardvark-dns, iptables and mmdebstrap; 8 GB of disk.
#
# PYTHON_IMAGE: the base image, where a registry is at hand. Without it, one is made from Debian's
# packages, and holds no library that Python's slim image does not have.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD
python=.venv/bin/python
compose=.venv-image

cannot() {
  echo "image-test: $1. No image was tested." >&2
  [[ ${CI:-} == true ]] && exit 1
  exit 0
}

[[ $(id -u) == 0 ]] || cannot "building an image needs root here"
missing=()
for name in buildah podman runc mmdebstrap iptables; do
  command -v "$name" >/dev/null || missing+=("$name")
done
[[ -x /usr/lib/podman/netavark ]] || missing+=(netavark)
[[ -x /usr/lib/podman/aardvark-dns ]] || missing+=(aardvark-dns)
((${#missing[@]} == 0)) || cannot "not installed: ${missing[*]} (apt-get install ${missing[*]})"

work=$(mktemp -d "${TMPDIR:-/tmp}/wise-image.XXXXXX")
cleanup() {
  podman rm --all --force --time 5 >/dev/null 2>&1 || true
  podman network prune --force >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT

# Images, containers, volumes and networks lie in the folder above: nothing else is touched.
cat >"$work/storage.conf" <<END
[storage]
driver = "vfs"
graphroot = "$work/graph"
runroot = "$work/run"
END
limit=$(ulimit -Hn)
[[ $limit == unlimited || $limit -gt 20000 ]] && limit=20000
cat >"$work/containers.conf" <<END
[containers]
default_ulimits = ["nofile=$limit:$limit", "nproc=10000:10000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
volume_path = "$work/volumes"
[network]
network_backend = "netavark"
network_config_dir = "$work/networks"
END
export CONTAINERS_STORAGE_CONF=$work/storage.conf CONTAINERS_CONF=$work/containers.conf
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot TMPDIR=$work

buildah info >/dev/null || cannot "buildah does not work on this machine"

base=${PYTHON_IMAGE:-}
if [[ -z $base ]]; then
  base=localhost/python:3.11-slim
  echo "image-test: making the base image from Debian's packages"
  mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates \
    bookworm "$work/base.tar"
  container=$(buildah from scratch)
  buildah add --quiet "$container" "$work/base.tar" / >/dev/null
  rm "$work/base.tar"
  buildah run --network host "$container" -- ln -s python3 /usr/bin/python
  buildah commit --quiet --rm "$container" "$base" >/dev/null
fi

# pip in the build is configured as pip on this machine is, folders of packages included.
mapfile -t pip_options < <("$python" tests/image/pip_options.py "$work/pip.conf")

echo "image-test: building the image (about five minutes on two cores)"
build() { buildah bud --quiet --format docker --network host --layers=false "$@" >>"$work/build.log" 2>&1; }
build --build-arg PYTHON_IMAGE="$base" --target cpu "${pip_options[@]}" \
  --tag localhost/wise-serve:image-test . || { tail -n 60 "$work/build.log" >&2; exit 1; }
build --build-arg BASE="$base" --tag localhost/prometheus:image-test \
  --file tests/image/prometheus.Dockerfile tests/image || { tail -n 30 "$work/build.log" >&2; exit 1; }
buildah images --format '{{.Name}}:{{.Tag}} {{.Size}}'

# podman-compose in an environment of its own: what tests the project is no part of it.
[[ -x $compose/bin/podman-compose ]] || {
  "$python" -m venv "$compose"
  "$compose/bin/python" -m pip install --quiet --disable-pip-version-check podman-compose==1.6.0
}
export WISE_IMAGE=localhost/wise-serve:image-test WISE_COMPOSE=$here/$compose/bin/podman-compose
"$python" -m pytest -m "" tests/image "$@"
