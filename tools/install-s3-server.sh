#!/bin/sh
# Installs the S3 server of the tests with the Go toolchain, which checks every module against the public checksum database.
set -eu
module=github.com/versity/versitygw
version=v1.8.0
if ! command -v go >/dev/null; then
    echo "needs Go 1.25 or later, to compile $module $version" >&2
    exit 1
fi
bin=$(go env GOBIN)
bin=${bin:-$(go env GOPATH)/bin}
if go version -m "$bin/versitygw" 2>/dev/null | awk '$1 == "mod"' | grep -qF "$module	$version"; then
    exit 0
fi
CGO_ENABLED=0 go install -trimpath -ldflags '-s -w' "$module/cmd/versitygw@$version"
echo "installed $bin/versitygw $version" >&2
