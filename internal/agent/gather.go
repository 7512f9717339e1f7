package agent

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"oakum.dev/repo/rpm"
)

// applications lists installed packages of dpkg's database, or of rpm's.
func (a *Agent) applications() ([]map[string]string, error) {
	f, err := os.Open(a.sys.path("var/lib/dpkg/status"))
	if errors.Is(err, os.ErrNotExist) {
		return rpmApplications(os.DirFS(a.sys.path("/")))
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return dpkgApplications(f, a.installedTime)
}

// rpmApplications reads the rpm database. Source: the attributes of AWS:Application 1.1.
func rpmApplications(root fs.FS) ([]map[string]string, error) {
	var all []map[string]string
	err := rpm.Installed(context.Background(), root, func(p *rpm.Package) error {
		app := map[string]string{"Name": p.Name, "Version": p.Version, "Release": p.Release, "Epoch": cmp.Or(p.Epoch, "0"), "Architecture": p.Arch, "Publisher": p.Vendor, "PackageId": p.Source}
		if !p.Installed.IsZero() {
			app["InstalledTime"] = p.Installed.UTC().Format(time.RFC3339)
		}
		all = append(all, present(app))
		return nil
	})
	if errors.Is(err, rpm.ErrNoDatabase) {
		return nil, fmt.Errorf("neither dpkg nor rpm has a database: %w", errNotHere)
	}
	return all, err
}

// dpkgApplications reads the status file: stanzas of fields, continuation lines start with a blank.
func dpkgApplications(r io.Reader, installedTime func(name, arch string) string) ([]map[string]string, error) {
	names := map[string]string{
		"Package": "Name", "Version": "Version", "Maintainer": "Publisher", "Architecture": "Architecture",
		"Homepage": "URL", "Description": "Summary", "Section": "ApplicationType",
	}
	var all []map[string]string
	app, installed := map[string]string{}, false
	finish := func() {
		if installed && app["Name"] != "" {
			app["PackageId"] = app["Name"] + "_" + app["Version"] + "_" + app["Architecture"]
			if t := installedTime(app["Name"], app["Architecture"]); t != "" {
				app["InstalledTime"] = t
			}
			all = append(all, app)
		}
		app, installed = map[string]string{}, false
	}
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		line := s.Text()
		if line == "" {
			finish()
			continue
		}
		if line[0] == ' ' || line[0] == '\t' {
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		if field == "Status" {
			installed = strings.HasSuffix(value, " installed")
		}
		if to := names[field]; to != "" && value != "" {
			app[to] = value
		}
	}
	finish()
	return all, s.Err()
}

// installedTime is when dpkg last unpacked the package.
func (a *Agent) installedTime(name, arch string) string {
	for _, file := range []string{name + ".list", name + ":" + arch + ".list"} {
		if info, err := os.Stat(a.sys.path("var/lib/dpkg/info/" + file)); err == nil {
			return info.ModTime().UTC().Format(time.RFC3339)
		}
	}
	return ""
}

// awsComponents are the packages of AWS's own agents and tools.
var awsComponents = []string{
	"amazon-cloudwatch-agent", "amazon-ec2-net-utils", "amazon-efs-utils", "amazon-ssm-agent", "aws-cfn-bootstrap", "aws-cli", "awscli", "awscli-2",
	"codedeploy-agent", "ec2-hibinit-agent", "ec2-instance-connect", "inspector-agent",
}

// components lists the agent itself, and the packages of AWS that are installed.
func (a *Agent) components() ([]map[string]string, error) {
	arch := map[string]string{"amd64": "x86_64", "386": "i386"}[runtime.GOARCH]
	if arch == "" {
		arch = runtime.GOARCH
	}
	all := []map[string]string{{"Name": Name, "Version": a.cfg.Version, "Publisher": "Oakum", "ApplicationType": "System Environment", "Architecture": arch}}
	apps, err := a.applications()
	if err != nil && !errors.Is(err, errNotHere) {
		return nil, err
	}
	for _, app := range apps {
		if !slices.Contains(awsComponents, app["Name"]) {
			continue
		}
		row := map[string]string{}
		for _, k := range []string{"Name", "Version", "Publisher", "ApplicationType", "Architecture", "InstalledTime", "URL"} {
			row[k] = app[k]
		}
		all = append(all, present(row))
	}
	return all, nil
}

// networks lists the interfaces but the loopback one, as Go's net package reads them from the kernel.
func (a *Agent) networks() ([]map[string]string, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	gateways, dns := a.gateways(), a.nameServers()
	var all []map[string]string
	for _, i := range interfaces {
		if i.Flags&net.FlagLoopback != 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		var v4, v6 []string
		mask := ""
		for _, addr := range addrs {
			n, ok := addr.(*net.IPNet)
			if !ok {
				continue
			}
			if n.IP.To4() == nil {
				v6 = append(v6, n.IP.String())
				continue
			}
			v4 = append(v4, n.IP.String())
			if mask == "" {
				mask = net.IP(n.Mask).String()
			}
		}
		all = append(all, present(map[string]string{
			"Name": i.Name, "MacAddress": i.HardwareAddr.String(), "IPV4": strings.Join(v4, ","), "IPV6": strings.Join(v6, ","),
			"SubnetMask": mask, "Gateway": gateways[i.Name], "DNSServer": dns,
		}))
	}
	return all, nil
}

// gateways reads the default routes of /proc/net/route, whose addresses are little-endian hexadecimal.
func (a *Agent) gateways() map[string]string {
	gw := map[string]string{}
	for line := range strings.Lines(a.sys.readFile("proc/net/route")) {
		f := strings.Fields(line)
		if len(f) < 3 || f[1] != "00000000" {
			continue
		}
		n, err := strconv.ParseUint(f[2], 16, 32)
		if err == nil && n != 0 {
			gw[f[0]] = net.IPv4(byte(n), byte(n>>8), byte(n>>16), byte(n>>24)).String()
		}
	}
	return gw
}

func (a *Agent) nameServers() string {
	var servers []string
	for line := range strings.Lines(a.sys.readFile("etc/resolv.conf")) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "nameserver" {
			servers = append(servers, f[1])
		}
	}
	return strings.Join(servers, ",")
}

// details reads the processor and the kernel.
func (a *Agent) details() []map[string]string {
	cpus, sockets, cores := 0, map[string]bool{}, map[string]bool{}
	model, mhz, socket := "", "", "0"
	for line := range strings.Lines(a.sys.readFile("proc/cpuinfo")) {
		key, value, ok := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		if !ok {
			continue
		}
		switch strings.TrimSpace(key) {
		case "processor":
			cpus++
		case "model name":
			model = value
		case "cpu MHz":
			mhz, _, _ = strings.Cut(value, ".")
		case "physical id":
			socket = value
			sockets[value] = true
		case "core id":
			cores[socket+"/"+value] = true
		}
	}
	if cpus == 0 {
		cpus = runtime.NumCPU()
	}
	// The highest frequency, where it is known: the one of the moment would be another one in every report.
	if khz, err := strconv.Atoi(a.sys.readLine("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")); err == nil {
		mhz = strconv.Itoa(khz / 1000)
	}
	row := map[string]string{"CPUs": strconv.Itoa(cpus), "CPUSockets": strconv.Itoa(max(1, len(sockets))), "CPUCores": strconv.Itoa(max(1, len(cores)))}
	if len(cores) > 0 {
		row["CPUHyperThreadEnabled"] = strconv.FormatBool(cpus > len(cores))
	} else {
		row["CPUCores"] = strconv.Itoa(cpus)
	}
	for key, value := range map[string]string{"CPUModel": model, "CPUSpeedMHz": mhz, "KernelVersion": a.sys.readLine("proc/sys/kernel/osrelease")} {
		if value != "" {
			row[key] = value
		}
	}
	return []map[string]string{row}
}
