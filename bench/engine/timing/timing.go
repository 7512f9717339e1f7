// Package timing runs programs in turn and says what each run took.
package timing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"time"
)

// Step is a program that is timed.
type Step struct {
	Name   string
	Args   []string
	Remove string // taken away before each run
	Codes  []int  // exit codes that are fine; none: 0
}

// Job is what to run, and how often.
type Job struct {
	Rounds int
	Steps  []Step
}

// Series holds what the runs of a program took: seconds, seconds, MiB.
type Series struct{ Wall, CPU, RSS []float64 }

// Run runs the steps in turn, after one round that is not counted when there are several.
func Run(r io.Reader, w io.Writer) error {
	var j Job
	if err := json.NewDecoder(r).Decode(&j); err != nil {
		return err
	}
	out := map[string]*Series{}
	for _, s := range j.Steps {
		out[s.Name] = &Series{}
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
				into = &Series{}
			}
			if err := s.run(into); err != nil {
				return err
			}
		}
	}
	return json.NewEncoder(w).Encode(out)
}

func (s *Step) run(into *Series) error {
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
	into.Wall = append(into.Wall, took.Seconds())
	into.CPU = append(into.CPU, (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds())
	into.RSS = append(into.RSS, peak(cmd.ProcessState))
	return nil
}
