package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"
)

// step is a program that is timed.
type step struct {
	Name   string
	Args   []string
	Remove string // taken away before each run
	Codes  []int  // exit codes that are fine; none: 0
}

type job struct {
	Rounds int
	Steps  []step
}

// series holds what the runs of a program took: seconds, seconds, MiB.
type series struct{ Wall, CPU, RSS []float64 }

// runTimer runs the steps in turn, after one round that is not counted when there are several.
func runTimer(r io.Reader, w io.Writer) error {
	var j job
	if err := json.NewDecoder(r).Decode(&j); err != nil {
		return err
	}
	out := map[string]*series{}
	for _, s := range j.Steps {
		out[s.Name] = &series{}
	}
	for round := range j.Rounds + min(1, j.Rounds-1) {
		for _, s := range j.Steps {
			if s.Remove != "" {
				if err := os.RemoveAll(s.Remove); err != nil {
					return err
				}
			}
			into := out[s.Name]
			if j.Rounds > 1 && round == 0 {
				into = &series{}
			}
			if err := s.run(into); err != nil {
				return err
			}
		}
	}
	return json.NewEncoder(w).Encode(out)
}

func (s *step) run(into *series) error {
	cmd := exec.Command(s.Args[0], s.Args[1:]...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	start := time.Now()
	err := cmd.Run()
	took := time.Since(start)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	if code := cmd.ProcessState.ExitCode(); code != 0 && !slices.Contains(s.Codes, code) {
		return fmt.Errorf("%s ended with %d: %s", s.Name, code, complaints.Bytes())
	}
	into.Wall = append(into.Wall, seconds(took))
	into.CPU = append(into.CPU, seconds(cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()))
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		into.RSS = append(into.RSS, float64(u.Maxrss)/1024)
	}
	return nil
}
