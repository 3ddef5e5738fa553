#!/bin/sh
# Makes the image of clusters/containers on a machine without a registry, of the Node and the libraries that are installed here.
# The archive has the name of the public image, so the manifests stay as they are.
#
#   sh images/make-archives.sh DIRECTORY      DIRECTORY is images/ of the data directory, before the start
set -eu

name=docker.io/library/node:22-slim
directory=${1:?Usage: make-archives.sh DIRECTORY}
node=$(command -v node) || { echo "make-archives.sh: node is not on the PATH" >&2; exit 1; }
node=$(readlink -f "$node")
case $(uname -m) in
  x86_64) architecture=amd64 ;;
  aarch64) architecture=arm64 ;;
  *) echo "make-archives.sh: no image for $(uname -m)" >&2; exit 1 ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/root/usr/local/bin" "$work/root/tmp" "$work/root/etc" "$work/image"
cp "$node" "$work/root/usr/local/bin/node"
# The libraries and the loader, at the paths where the program looks for them.
ldd "$node" | grep -o '/[^ ]*' | while read -r library; do
  mkdir -p "$work/root$(dirname "$library")"
  cp -L "$library" "$work/root$library"
done
echo 'root:x:0:0:root:/root:/bin/sh' > "$work/root/etc/passwd"
chmod 1777 "$work/root/tmp"

archive() { tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$1" -cf "$2" .; }
archive "$work/root" "$work/image/layer.tar"
digest=$(sha256sum "$work/image/layer.tar" | cut -d ' ' -f 1)
cat > "$work/image/config.json" << JSON
{
  "architecture": "$architecture",
  "os": "linux",
  "config": { "Env": ["PATH=/usr/local/bin"], "Cmd": ["node"] },
  "rootfs": { "type": "layers", "diff_ids": ["sha256:$digest"] }
}
JSON
cat > "$work/image/manifest.json" << JSON
[{ "Config": "config.json", "RepoTags": ["$name"], "Layers": ["layer.tar"] }]
JSON
mkdir -p "$directory"
archive "$work/image" "$work/node.tar"
mv "$work/node.tar" "$directory/node.tar"
echo "wrote $directory/node.tar ($name, of $("$node" --version))"
