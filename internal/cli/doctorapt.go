package cli

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"oakum.dev/patch"
)

const aptConfig = "/usr/bin/apt-config"

// aptProxy is a proxy that apt's configuration names.
type aptProxy struct{ setting, value string }

// aptProxyLine is a line of "apt-config dump" such as Acquire::http::Proxy::mirror.example.com "http://proxy:3128";
var aptProxyLine = regexp.MustCompile(`(?im)^(Acquire::(?:http|https|ftp)::(?:[^:"\s]+::)*Proxy(?:::[^"\s]+)?) "([^"]*)";$`)

// aptProxies reads the output of "apt-config dump". DIRECT and false mean that none is used.
func aptProxies(dump string) []aptProxy {
	var out []aptProxy
	for _, m := range aptProxyLine.FindAllStringSubmatch(dump, -1) {
		if m[2] != "" && !strings.EqualFold(m[2], "DIRECT") && m[2] != "false" {
			out = append(out, aptProxy{m[1], m[2]})
		}
	}
	return out
}

// address is where the proxy listens. The ports are those that apt takes when none is given.
func (p aptProxy) address() (string, error) {
	u, err := url.Parse(p.value)
	if err != nil || u.Hostname() == "" {
		return "", fmt.Errorf("%s is not the address of a proxy", redactURL(p.value))
	}
	port, ok := map[string]string{"http": "80", "https": "443", "socks5h": "1080"}[u.Scheme]
	if !ok {
		return "", fmt.Errorf("%s: apt knows proxies of http, https and socks5h", redactURL(p.value))
	}
	if u.Port() != "" {
		port = u.Port()
	}
	return net.JoinHostPort(u.Hostname(), port), nil
}

// aptProxy tests whether the proxies that apt itself uses can be reached: the agent's own way to the server says
// nothing of the way to the repositories. env is added to the environment of apt-config.
func (d *doctor) aptProxy(ctx context.Context, env ...string) {
	if _, err := os.Stat(aptConfig); err != nil {
		return // not a machine of apt
	}
	out, err := patch.OSExec{}.Run(ctx, patch.Command{Path: aptConfig, Args: []string{"dump"}, Env: append(patch.BaseEnv(), env...), Timeout: time.Minute})
	if err == nil && out.Code != 0 {
		err = fmt.Errorf("apt-config: %s", strings.TrimSpace(string(out.Stderr)))
	}
	if err != nil {
		d.fault(checkFail, "apt proxy", err)
		return
	}
	list := aptProxies(string(out.Stdout))
	if len(list) == 0 {
		d.ok("apt proxy", "apt's configuration names none")
	}
	var tried []string
	for _, p := range list {
		address, err := p.address()
		if err != nil {
			d.add(checkFail, "apt proxy", fmt.Sprintf("%s: %v", p.setting, err), "correct it in /etc/apt/apt.conf or apt.conf.d")
			continue
		}
		if slices.Contains(tried, address) {
			continue
		}
		tried = append(tried, address)
		dial := net.Dialer{Timeout: 10 * time.Second}
		conn, err := dial.DialContext(ctx, "tcp", address)
		if err != nil {
			d.add(checkFail, "apt proxy", fmt.Sprintf("%s %s cannot be reached: %v", p.setting, redactURL(p.value), explainNetwork(err, redactURL(p.value), address)),
				"no repository can be fetched through it: correct /etc/apt/apt.conf or apt.conf.d, or mend the way to it")
			continue
		}
		_ = conn.Close() // nothing was said
		d.ok("apt proxy", "%s %s takes connections", p.setting, redactURL(p.value))
	}
}
