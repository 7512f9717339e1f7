package agent

import (
	"net"
	"strconv"
	"strings"

	"oakum.dev/document"
)

// Platform is what the agent reports about its node.
type Platform struct {
	Type      document.Platform
	Name      string // NAME of os-release: "Debian GNU/Linux"
	Version   string // VERSION_ID: "12"
	Computer  string
	IPAddress string // first IPv4 address that is not loopback
}

func readPlatform(sys *System) Platform {
	p := Platform{Computer: sys.Hostname(), IPAddress: firstIPv4()}
	switch sys.GOOS {
	case "darwin":
		p.Type, p.Name = document.MacOS, "macOS"
		p.fill()
	case "windows":
		p.Type, p.Name = document.Windows, "Microsoft Windows"
		p.fill()
	default:
		p.Type = document.Linux
		text := sys.readFile("etc/os-release")
		if text == "" {
			text = sys.readFile("usr/lib/os-release")
		}
		release := parseOSRelease(text)
		p.Name, p.Version = release["NAME"], release["VERSION_ID"]
		if p.Name == "" {
			p.Name = "Linux"
		}
	}
	return p
}

// fill takes name and version from a system that has no os-release.
func (p *Platform) fill() {
	if name, version := osVersion(); name != "" {
		p.Name, p.Version = name, version
	}
}

// parseOSRelease reads the shell assignments of os-release(5).
func parseOSRelease(text string) map[string]string {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || strings.HasPrefix(key, "#") {
			continue
		}
		if unquoted, err := strconv.Unquote(value); err == nil && strings.HasPrefix(value, `"`) {
			value = unquoted
		}
		values[key] = strings.Trim(value, `'`)
	}
	return values
}

func firstIPv4() string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && n.IP.To4() != nil {
			return n.IP.String()
		}
	}
	return ""
}
