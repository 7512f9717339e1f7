package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// lossBudget is how long a server that stopped answering is waited for: a restart takes less.
const lossBudget = 5 * time.Minute

// watch follows a command to its end. On a terminal it keeps one line up to date, which is gone afterwards, and of an
// install a line for every node that has ended; elsewhere it writes a line for every change of a node's state.
type watch struct {
	c    *Client
	s    *Streams
	o    *clientOptions
	id   string
	what string

	command     *types.Command
	invocations []types.CommandInvocation

	seen    map[string]string
	started time.Time
	live    bool // a line is on the terminal
	warned  bool
}

func (w *watch) ids() []string {
	out := make([]string, len(w.invocations))
	for i, v := range w.invocations {
		out[i] = aws.ToString(v.InstanceId)
	}
	return out
}

func ended(st types.CommandStatus) bool {
	switch st {
	case types.CommandStatusPending, types.CommandStatusInProgress, types.CommandStatusCancelling:
		return false
	}
	return true
}

func invocationEnded(st types.CommandInvocationStatus) bool {
	switch st {
	case types.CommandInvocationStatusPending, types.CommandInvocationStatusInProgress, types.CommandInvocationStatusDelayed, types.CommandInvocationStatusCancelling:
		return false
	}
	return true
}

// run returns when the command has ended, or when ctx has and the person has been asked what to do.
func (w *watch) run(ctx context.Context) error {
	w.started, w.seen = time.Now(), map[string]string{}
	defer w.erase()
	var lost time.Time
	pause := 300 * time.Millisecond
	for {
		err := w.poll(ctx)
		switch {
		case ctx.Err() != nil:
			return w.interrupted(context.WithoutCancel(ctx))
		case err == nil:
			lost = time.Time{}
			w.show(ctx)
			if ended(w.command.Status) {
				return nil
			}
		default:
			if _, _, answered := apiError(err); answered && !isCode(err, "ThrottlingException", "InternalServerError", "ServiceUnavailableException") {
				return err
			}
			if lost.IsZero() {
				lost = time.Now()
				w.erase()
				w.o.say(w.s, "oakum: warning: %v; trying again", w.c.explain(err))
			} else if time.Since(lost) > lossBudget {
				return failed(hinted(w.c.explain(err).Error(), fmt.Sprintf(`the command goes on; "oakum runs %s --watch" shows it again`, w.id)))
			}
		}
		select {
		case <-ctx.Done():
			return w.interrupted(context.WithoutCancel(ctx))
		case <-time.After(pause):
		}
		pause = min(pause*5/4, 2*time.Second)
	}
}

// poll reads the command first: when that has ended, so have the invocations read after it.
func (w *watch) poll(ctx context.Context) error {
	cmds, err := w.c.SSM.ListCommands(ctx, &ssm.ListCommandsInput{CommandId: &w.id})
	if err != nil {
		return err
	}
	if len(cmds.Commands) == 0 {
		return failed(hinted("there is no command "+w.id+" in region "+w.c.Region, `"oakum runs" lists the commands`))
	}
	list, err := w.c.invocations(ctx, w.id, "")
	if err != nil {
		return err
	}
	w.command, w.invocations = &cmds.Commands[0], list
	return nil
}

func (c *Client) invocations(ctx context.Context, id, node string) ([]types.CommandInvocation, error) {
	in := &ssm.ListCommandInvocationsInput{CommandId: &id}
	if node != "" {
		in.InstanceId = &node
	}
	list := []types.CommandInvocation{}
	pages := ssm.NewListCommandInvocationsPaginator(c.SSM, in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		list = append(list, page.CommandInvocations...)
	}
	slices.SortFunc(list, func(a, b types.CommandInvocation) int {
		return strings.Compare(aws.ToString(a.InstanceId), aws.ToString(b.InstanceId))
	})
	return list, nil
}

func (w *watch) show(ctx context.Context) {
	if w.o.quiet {
		return
	}
	w.warnLost(ctx)
	states := map[string]int{}
	done := 0
	var under []string
	for _, v := range w.invocations {
		st := orDefault(aws.ToString(v.StatusDetails), string(v.Status))
		states[st]++
		if invocationEnded(v.Status) {
			done++
		}
		id := aws.ToString(v.InstanceId)
		title := id
		if n := aws.ToString(v.InstanceName); n != "" {
			title += " (" + printable(n) + ")"
		}
		if v.Status == types.CommandInvocationStatusInProgress {
			under = append(under, cmp.Or(printable(aws.ToString(v.InstanceName)), id))
		}
		if w.seen[id] != st {
			w.seen[id] = st
			if !isTerminal(w.s.Err) || w.installs() && invocationEnded(v.Status) {
				w.erase()
				fmt.Fprintf(w.s.Err, "%s: %s\n", title, st)
			}
		}
	}
	if !isTerminal(w.s.Err) {
		return
	}
	line := fmt.Sprintf("%s: %d of %s done", w.what, done, plural(len(w.invocations), "node", "nodes"))
	for _, st := range slices.Sorted(maps.Keys(states)) {
		line += fmt.Sprintf(", %d %s", states[st], st)
	}
	line += fmt.Sprintf(", %s", time.Since(w.started).Round(time.Second))
	if w.installs() && len(under) > 0 {
		line += "; at work: " + few(under)
	}
	if width, runes := terminalWidth(w.s.Err), []rune(line); len(runes) >= width {
		line = string(runes[:max(width-1, 0)])
	}
	fmt.Fprintf(w.s.Err, "\r%s\x1b[K", line)
	w.live = true
}

// warnLost tells once which nodes the command waits for because nobody hears of them.
func (w *watch) warnLost(ctx context.Context) {
	if w.warned || len(w.invocations) == 0 {
		return
	}
	w.warned = true
	nodes, err := w.c.nodesByID(ctx, w.ids())
	if err != nil {
		return // the command is what matters, and its next poll tells
	}
	var lost []string
	for _, v := range w.invocations {
		n := nodes[aws.ToString(v.InstanceId)]
		if !invocationEnded(v.Status) && aws.ToString(n.PingStatus) != "Online" {
			lost = append(lost, nodeTitle(&n))
		}
	}
	if len(lost) == 0 {
		return
	}
	if len(lost) > 5 {
		lost = append(lost[:5:5], fmt.Sprintf("and %d more", len(lost)-5))
	}
	w.o.say(w.s, "oakum: warning: not connected: %s; they are waited for until %s", printable(strings.Join(lost, ", ")), stamp(aws.ToTime(w.command.ExpiresAfter)))
}

func (w *watch) erase() {
	if w.live {
		fmt.Fprint(w.s.Err, "\r\x1b[K")
		w.live = false
	}
}

// interrupted asks whether to cancel the command, on a terminal, and else says how to see it again.
func (w *watch) interrupted(ctx context.Context) error {
	w.erase()
	again := hinted("interrupted; the command goes on", fmt.Sprintf(`"oakum runs %s --watch" shows it again, "aws ssm cancel-command --command-id %s" ends it`, w.id, w.id))
	if !isTerminal(w.s.In) || !isTerminal(w.s.Err) {
		return failed(again)
	}
	fmt.Fprintf(w.s.Err, "Cancel command %s on the nodes that have not finished? [y/N] ", w.id)
	if !w.yes() {
		return failed(again)
	}
	ctx, stop := context.WithTimeout(ctx, 15*time.Second)
	defer stop()
	if _, err := w.c.SSM.CancelCommand(ctx, &ssm.CancelCommandInput{CommandId: &w.id}); err != nil {
		return w.c.explain(err)
	}
	return failed(hinted("cancelled", fmt.Sprintf(`"oakum runs %s" shows how far the nodes came`, w.id)))
}

// yes waits for an answer; a second interrupt is a no.
func (w *watch) yes() bool {
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, os.Interrupt)
	defer signal.Stop(sig)
	answer := make(chan string, 1)
	go func() { // ends with the program: a read of a terminal cannot be called off
		line, err := bufio.NewReader(w.s.In).ReadString('\n')
		if err != nil && !errors.Is(err, os.ErrClosed) {
			line = ""
		}
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-sig:
		fmt.Fprintln(w.s.Err)
		return false
	case a := <-answer:
		return a == "y" || a == "yes"
	}
}
