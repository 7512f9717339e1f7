package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

const (
	region = "us-east-1"
	settle = 25 * time.Second // registration, first reports
	watch  = 60 * time.Second
)

// measureAgent runs a server, registers an agent with it, and looks at the agent while it has nothing to do.
func measureAgent(t *table, oakum string) error {
	dir, err := os.MkdirTemp("", "oakum-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	url := "http://" + l.Addr().String()
	l.Close()
	server, err := start(filepath.Join(dir, "server.log"), oakum, "server", "--data-dir", dir, "--listen", url)
	if err != nil {
		return err
	}
	defer stop(server)
	if err := ready(url); err != nil {
		return err
	}
	state := filepath.Join(dir, "node")
	if err := register(url, dir, state, oakum); err != nil {
		return err
	}
	agent, err := start(filepath.Join(dir, "agent.log"), oakum, "agent", "run", "--state-dir", state)
	if err != nil {
		return err
	}
	defer stop(agent)
	time.Sleep(settle)
	before, err := requests(url)
	if err != nil {
		return err
	}
	cpu := ticks(agent.Process.Pid)
	time.Sleep(watch)
	after, err := requests(url)
	if err != nil {
		return err
	}
	cpu = ticks(agent.Process.Pid) - cpu
	st, err := status(agent.Process.Pid)
	if err != nil {
		return err
	}
	fmt.Printf("agent: idle for %.0f s, registered with a server on this machine\n", watch.Seconds())
	t.line("idle agent, resident memory", st["VmRSS"]/1024, 20, "MiB", fmt.Sprintf("%.1f MiB of it anonymous; peak %.1f MiB", st["RssAnon"]/1024, st["VmHWM"]/1024))
	t.line("idle agent, threads", st["Threads"], 8, "", "")
	t.line("idle agent, requests a minute", (after-before)/watch.Minutes(), 5, "", "amazon-ssm-agent, polling: 4.5")
	t.line("idle agent, processor", cpu/watch.Seconds(), 0.1, "%", "of one core")
	return nil
}

func start(log, program string, args ...string) (*exec.Cmd, error) {
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = f, f
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd, cmd.Start()
}

func stop(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
	_ = cmd.Wait() // how it ended does not matter any more
	kill.Stop()
}

func ready(url string) error {
	for range 100 {
		if res, err := http.Get(url + "/readyz"); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("the server at %s does not get ready", url)
}

func register(url, dir, state, oakum string) error {
	ctx := context.Background()
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(region), config.WithSharedCredentialsFiles([]string{filepath.Join(dir, "admin.credentials")}))
	if err != nil {
		return err
	}
	client := ssm.NewFromConfig(cfg, func(o *ssm.Options) { o.BaseEndpoint = &url })
	a, err := client.CreateActivation(ctx, &ssm.CreateActivationInput{IamRole: aws.String("bench")})
	if err != nil {
		return err
	}
	out, err := exec.Command(oakum, "agent", "register", "--endpoint", url, "--region", region, "--state-dir", state,
		"--activation-id", *a.ActivationId, "--activation-code", *a.ActivationCode).CombinedOutput()
	if err != nil {
		return fmt.Errorf("register: %w: %s", err, out)
	}
	return nil
}

// requests sums the server's counters of API calls.
func requests(url string) (float64, error) {
	res, err := http.Get(url + "/metrics")
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	sum := 0.0
	sc := bufio.NewScanner(res.Body)
	for sc.Scan() {
		if strings.HasPrefix(sc.Text(), "oakum_api_requests_total{") {
			v, err := strconv.ParseFloat(sc.Text()[strings.LastIndexByte(sc.Text(), ' ')+1:], 64)
			if err != nil {
				return 0, err
			}
			sum += v
		}
	}
	return sum, sc.Err()
}

// status reads the numbers of /proc/PID/status, in kB where they are sizes.
func status(pid int) (map[string]float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil, err
	}
	out := map[string]float64{}
	for line := range bytes.Lines(b) {
		if w := strings.Fields(string(line)); len(w) > 1 {
			if v, err := strconv.ParseFloat(w[1], 64); err == nil {
				out[strings.TrimSuffix(w[0], ":")] = v
			}
		}
	}
	return out, nil
}

// ticks is the processor time of a process in hundredths of a second, which are per cent of a core a second.
func ticks(pid int) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	w := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	user, _ := strconv.ParseFloat(w[11], 64)
	system, _ := strconv.ParseFloat(w[12], 64)
	return user + system
}
