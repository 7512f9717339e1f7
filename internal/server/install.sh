#!/bin/sh
# Makes this machine a managed node of the Oakum server at {{{.URL}}}.
# Usage: curl ... | sh -s -- ACTIVATION-ID ACTIVATION-CODE [REGION]
set -eu

main() {
	url='{{{.URL}}}'
	id=${1:-}
	code=${2:-}
	region=${3:-'{{{.Region}}}'}
	if [ -z "$id" ] || [ -z "$code" ]; then
		echo 'oakum: error: give the activation: sh -s -- ACTIVATION-ID ACTIVATION-CODE [REGION]' >&2
		exit 2
	fi
	if [ "$(id -u)" != 0 ]; then
		echo 'oakum: error: run this as root' >&2
		exit 1
	fi
	case $(uname -m) in
	x86_64) name=oakum-linux-amd64 ;;
	aarch64) name=oakum-linux-arm64 ;;
	armv6l | armv7l) name=oakum-linux-arm ;;
	i386 | i486 | i586 | i686) name=oakum-linux-386 ;;
	*) name=oakum-linux-$(uname -m) ;;
	esac
	sum=
	case $name in
{{{- range $name, $sum := .Sums}}}
	{{{$name}}}) sum={{{$sum}}} ;;
{{{- end}}}
	esac
	if [ -z "$sum" ]; then
		echo "oakum: error: the server has no binary for this machine ($name)" >&2
		echo "oakum: hint: put it into the folder binaries of the server's data directory" >&2
		exit 1
	fi
	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' EXIT
	ca=
{{{- if .Authority}}}
	ca=$tmp/ca.pem
	cat >"$ca" <<'PEM'
{{{.Authority}}}PEM
{{{- end}}}
	echo "oakum: fetching $name" >&2
	fetch "$url/oakum/bin/$name" "$tmp/oakum" "$ca"
	if [ "$(sha256sum "$tmp/oakum" | cut -d' ' -f1)" != "$sum" ]; then
		echo 'oakum: error: the binary has another checksum than the server announced' >&2
		exit 1
	fi
	install -m 755 "$tmp/oakum" /usr/local/bin/.oakum.new
	mv -f /usr/local/bin/.oakum.new /usr/local/bin/oakum
	/usr/local/bin/oakum agent register --endpoint "$url" --region "$region" --activation-id "$id" --activation-code "$code" ${ca:+--ca-file "$ca"}{{{if .Insecure}}} --insecure-http{{{end}}}
	if [ -d /run/systemd/system ]; then
		/usr/local/bin/oakum agent install
	else
		echo 'oakum: systemd does not run here: start the agent with "oakum agent run"' >&2
	fi
}

fetch() { # URL FILE CA
	if command -v curl >/dev/null; then
		curl -fsS ${3:+--cacert "$3"} -o "$2" "$1"
	elif command -v wget >/dev/null; then
		wget -q ${3:+--ca-certificate="$3"} -O "$2" "$1"
	else
		echo 'oakum: error: neither curl nor wget is installed' >&2
		exit 1
	fi
}

main "$@"
