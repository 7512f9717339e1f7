#!/bin/sh
# Makes amazon-ssm-agent on this machine a managed node of the Oakum server at {{{.URL}}}, or gives it back to AWS.
# Usage: curl ... | sudo sh -s -- ACTIVATION-ID ACTIVATION-CODE [REGION]
#        curl ... | sudo sh -s -- --back
set -eu

config=/etc/amazon/ssm/amazon-ssm-agent.json
before=$config.before-oakum

main() {
	if [ "$(id -u)" != 0 ]; then
		fail 'run this as root'
	fi
	agent=$(command -v amazon-ssm-agent || true)
	if [ -z "$agent" ]; then
		fail 'amazon-ssm-agent is not installed here'
	fi
	if [ "${1:-}" = --back ]; then
		back
		return
	fi
	id=${1:-} code=${2:-} region=${3:-'{{{.Region}}}'}
	if [ -z "$id" ] || [ -z "$code" ]; then
		fail 'give the activation: sh -s -- ACTIVATION-ID ACTIVATION-CODE [REGION]'
	fi
{{{- if .Authority}}}
	trust
{{{- end}}}
	service stop
	mkdir -p "${config%/*}"
	if [ ! -e "$before" ]; then # a second run keeps what the first one found
		if [ -e "$config" ]; then
			cp -p "$config" "$before"
		else
			: >"$before"
		fi
	fi
	cat >"$config.new" <<'JSON'
{{{.Config}}}
JSON
	chmod 600 "$config.new"
	mv -f "$config.new" "$config"
	if ! "$agent" -register -y -id "$id" -code "$code" -region "$region"; then
		restore
		service start
		fail 'the agent could not be registered; it has its configuration of before'
	fi
	service start
	echo 'oakum: amazon-ssm-agent is a node of {{{.URL}}}' >&2
}

# back restores the configuration and forgets the registration. Whether the machine is a node of AWS again depends on its
# instance profile, or on a registration with an activation of AWS.
back() {
	if [ ! -e "$before" ]; then
		fail "there is no $before: this machine was not moved by this script"
	fi
	service stop
	"$agent" -register -clear -y || fail 'the registration could not be removed'
	restore
{{{- if .Authority}}}
	distrust
{{{- end}}}
	service start
	echo 'oakum: amazon-ssm-agent has its configuration of before; remove the node from Oakum with deregister-managed-instance' >&2
}

restore() {
	if [ -s "$before" ]; then
		mv -f "$before" "$config"
	else
		rm -f "$config" "$before"
	fi
}
{{{- if .Authority}}}

# distrust takes it away again.
distrust() {
	rm -f /usr/local/share/ca-certificates/oakum.crt /etc/pki/trust/anchors/oakum.pem /etc/pki/ca-trust/source/anchors/oakum.pem
	for update in update-ca-certificates update-ca-trust; do
		if command -v "$update" >/dev/null; then
			"$update" >/dev/null
		fi
	done
}

# trust puts the authority of the server's certificate among the system's: the agent knows no other place.
trust() {
	if command -v update-ca-certificates >/dev/null; then
		file=/usr/local/share/ca-certificates/oakum.crt update=update-ca-certificates
		if [ -d /usr/share/pki/trust/anchors ] && [ ! -d /usr/local/share/ca-certificates ]; then
			file=/etc/pki/trust/anchors/oakum.pem
		fi
	elif command -v update-ca-trust >/dev/null; then
		file=/etc/pki/ca-trust/source/anchors/oakum.pem update=update-ca-trust
	else
		fail "neither update-ca-certificates nor update-ca-trust is here: add the server's authority ({{{.URL}}}/oakum/ca.pem) to the system's by hand"
	fi
	mkdir -p "${file%/*}"
	cat >"$file" <<'PEM'
{{{.Authority}}}PEM
	$update >/dev/null
}
{{{- end}}}

service() { # start or stop
	if [ -d /run/systemd/system ]; then
		for unit in amazon-ssm-agent.service snap.amazon-ssm-agent.amazon-ssm-agent.service; do
			if systemctl cat "$unit" >/dev/null 2>&1; then
				systemctl "$1" "$unit"
				return
			fi
		done
	fi
	echo "oakum: no service of amazon-ssm-agent was found: $1 the agent by hand" >&2
}

fail() {
	echo "oakum: error: $1" >&2
	exit 1
}

main "$@"
