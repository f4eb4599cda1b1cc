#!/bin/sh
# Installs Microsoft's server for tests of Azure Blob Storage below this directory; npm compares every package with the
# sum in the lock file.
set -eu
cd "$(dirname "$0")/azurite"
if ! command -v npm >/dev/null; then
    echo "needs Node.js 20 or later with npm, to install Azurite" >&2
    exit 1
fi
if [ -x node_modules/.bin/azurite-blob ] && [ node_modules/.package-lock.json -nt package-lock.json ]; then
    exit 0
fi
npm ci --no-audit --no-fund --loglevel=error
echo "installed $(node_modules/.bin/azurite-blob --version 2>/dev/null | tail -1 || true)" >&2
