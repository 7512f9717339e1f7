package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"oakum.dev/arn"
	"oakum.dev/internal/page"
	"oakum.dev/internal/store"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

func (s *Service) wireCommand(c store.Command) ssm.Command {
	w := ssm.Command{
		CommandId: &c.ID, DocumentName: &c.DocumentName, DocumentVersion: &c.DocumentVersion, Comment: &c.Comment,
		ExpiresAfter: codec.NewTime(c.ExpiresAt), RequestedDateTime: codec.NewTime(c.RequestedAt), Status: &c.Status, StatusDetails: &c.StatusDetails,
		OutputS3Region: &c.OutputRegion, OutputS3BucketName: &c.OutputBucket, OutputS3KeyPrefix: &c.OutputPrefix, MaxConcurrency: &c.MaxConcurrency,
		MaxErrors: &c.MaxErrors, TargetCount: &c.TargetCount, CompletedCount: &c.CompletedCount, ErrorCount: &c.ErrorCount,
		DeliveryTimedOutCount: &c.DeliveryTimedOutCount, ServiceRole: &c.ServiceRole, TimeoutSeconds: &c.TimeoutSeconds,
		NotificationConfig:     &ssm.NotificationConfig{NotificationArn: new(""), NotificationEvents: []string{}, NotificationType: new("")},
		CloudWatchOutputConfig: &ssm.CloudWatchOutputConfig{CloudWatchLogGroupName: new(""), CloudWatchOutputEnabled: new(false)},
		Parameters:             map[string][]string{}, InstanceIds: []string{}, Targets: []ssm.Target{},
	}
	for text, to := range map[string]any{c.Parameters: &w.Parameters, c.InstanceIDs: &w.InstanceIds, c.Targets: &w.Targets} {
		if text != "null" {
			_ = json.Unmarshal([]byte(text), to) // written by SendCommand
		}
	}
	return w
}

// filters of ListCommands and ListCommandInvocations.
type filters struct {
	after, before           time.Time
	status, document, stage string
}

func parseFilters(in []ssm.CommandFilter, stage bool) (f filters, err error) {
	for _, c := range in {
		v := codec.Value(c.Value)
		switch codec.Value(c.Key) {
		case "InvokedAfter", "InvokedBefore":
			t, perr := codec.ParseTimeString(v)
			if perr != nil {
				return f, ssm.InvalidFilterKey("The filter %s has no valid time: %s", codec.Value(c.Key), v)
			}
			if *c.Key == "InvokedAfter" {
				f.after = t.Time
			} else {
				f.before = t.Time
			}
		case "Status":
			if !knownStatus(v) {
				return f, ssm.InvalidFilterKey("The status %s is not valid", v)
			}
			f.status = v
		case "DocumentName":
			f.document = v
		case "ExecutionStage":
			if !stage || v != "Executing" && v != "Complete" {
				return f, ssm.InvalidFilterKey("The filter ExecutionStage=%s is not valid here", v)
			}
			f.stage = v
		default:
			return f, ssm.InvalidFilterKey("The specified key isn't valid: %s", codec.Value(c.Key))
		}
	}
	return f, nil
}

func knownStatus(v string) bool {
	if _, ok := coarse[v]; ok {
		return true
	}
	return v == "AccessDenied" || v == "LimitExceeded" || v == "RateExceeded"
}

func (f filters) takes(requested time.Time, status, details, document string) bool {
	switch {
	case !f.after.IsZero() && !requested.After(f.after),
		!f.before.IsZero() && !requested.Before(f.before),
		f.status != "" && f.status != status && f.status != details,
		f.document != "" && f.document != document && !isARNOf(document, f.document),
		f.stage == "Executing" && Ended(status),
		f.stage == "Complete" && !Ended(status):
		return false
	}
	return true
}

// isARNOf reports whether a command was sent with the ARN of the document of that name.
func isARNOf(sent, name string) bool {
	bare, err := arn.DocumentName(sent)
	return err == nil && bare == name
}

// beginning is where a listing that goes back in time starts.
var beginning = time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC)

// keyTime reads the time part of a page's key.
func keyTime(pg *page.Page) time.Time {
	if us, err := strconv.ParseInt(pg.At(0), 10, 64); err == nil {
		return time.UnixMicro(us).UTC()
	}
	return beginning
}

func timeKey(t time.Time) string { return strconv.FormatInt(t.UnixMicro(), 10) }

// ListCommands lists commands, newest first.
func (s *Service) ListCommands(ctx context.Context, in *ssm.ListCommandsInput) (*ssm.ListCommandsOutput, error) {
	f, err := parseFilters(in.Filters, true)
	if err != nil {
		return nil, err
	}
	if codec.Value(in.InstanceId) != "" && f.status == Pending {
		return nil, ssm.InvalidFilterKey("The status Pending cannot be asked for together with an instance id")
	}
	pg, err := s.pages.Open(ctx, "ListCommands", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	sc := store.ScopeOf(ctx)
	out := &ssm.ListCommandsOutput{Commands: []ssm.Command{}}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		if id := codec.Value(in.CommandId); id != "" {
			c, err := tx.Command(sc, id)
			if errors.Is(err, store.ErrNotFound) {
				return ssm.InvalidCommandId("Command %s was not found", id)
			}
			if err == nil && f.takes(c.RequestedAt, c.Status, c.StatusDetails, c.DocumentName) {
				out.Commands = append(out.Commands, s.wireCommand(c))
			}
			return err
		}
		before, id := keyTime(pg), pg.At(1)
		for {
			var rows []store.Command
			var err error
			if node := codec.Value(in.InstanceId); node != "" {
				rows, err = tx.CommandsOn(sc, node, before, id, 200)
			} else {
				rows, err = tx.Commands(sc, before, id, 200)
			}
			if err != nil || len(rows) == 0 {
				return err
			}
			for _, c := range rows {
				if f.takes(c.RequestedAt, c.Status, c.StatusDetails, c.DocumentName) {
					if len(out.Commands) == pg.Size {
						out.NextToken = pg.Next(timeKey(before), id)
						return nil
					}
					out.Commands = append(out.Commands, s.wireCommand(c))
				}
				before, id = c.RequestedAt, c.ID
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ListCommandInvocations lists invocations: those of one command by node id, others newest first.
func (s *Service) ListCommandInvocations(ctx context.Context, in *ssm.ListCommandInvocationsInput) (*ssm.ListCommandInvocationsOutput, error) {
	f, err := parseFilters(in.Filters, false)
	if err != nil {
		return nil, err
	}
	pg, err := s.pages.Open(ctx, "ListCommandInvocations", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	sc := store.ScopeOf(ctx)
	node, id := codec.Value(in.InstanceId), codec.Value(in.CommandId)
	out := &ssm.ListCommandInvocationsOutput{CommandInvocations: []ssm.CommandInvocation{}}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		commands := map[string]store.Command{}
		names := map[string]string{}
		before, cmd, last := keyTime(pg), pg.At(1), pg.At(2)
		for {
			var rows []store.Invocation
			var err error
			switch {
			case id != "" && node != "":
				if pg.Key != nil {
					return nil
				}
				v, verr := tx.Invocation(sc, id, node)
				if verr == nil {
					rows = []store.Invocation{v}
				} else if !errors.Is(verr, store.ErrNotFound) {
					return verr
				}
			case id != "":
				rows, err = tx.InvocationsOf(sc, id, last, 200)
			case node != "":
				rows, err = tx.InvocationsOn(sc, node, before, cmd, 200)
			default:
				rows, err = tx.Invocations(sc, before, cmd, last, 200)
			}
			if err != nil || len(rows) == 0 {
				return err
			}
			for _, v := range rows {
				c, ok := commands[v.CommandID]
				if !ok {
					if c, err = tx.Command(sc, v.CommandID); err != nil {
						return err
					}
					commands[v.CommandID] = c
				}
				if f.takes(v.RequestedAt, v.Status, v.StatusDetails, c.DocumentName) {
					if len(out.CommandInvocations) == pg.Size {
						out.NextToken = pg.Next(timeKey(before), cmd, last)
						return nil
					}
					name, ok := names[v.NodeID]
					if !ok {
						if n, err := tx.NodeByID(v.NodeID); err == nil {
							name = n.Name
						}
						names[v.NodeID] = name
					}
					out.CommandInvocations = append(out.CommandInvocations, s.wireInvocation(c, v, name, codec.Value(in.Details)))
				}
				before, cmd, last = v.RequestedAt, v.CommandID, v.NodeID
			}
			if id != "" && node != "" {
				return nil
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) wireInvocation(c store.Command, v store.Invocation, name string, details bool) ssm.CommandInvocation {
	w := ssm.CommandInvocation{
		CommandId: &v.CommandID, InstanceId: &v.NodeID, InstanceName: &name, Comment: &c.Comment, DocumentName: &c.DocumentName,
		DocumentVersion: &c.DocumentVersion, RequestedDateTime: codec.NewTime(v.RequestedAt), Status: &v.Status, StatusDetails: &v.StatusDetails,
		TraceOutput: &v.Trace, StandardOutputUrl: new(""), StandardErrorUrl: new(""), CommandPlugins: []ssm.CommandPlugin{}, ServiceRole: &c.ServiceRole,
		NotificationConfig:     &ssm.NotificationConfig{NotificationArn: new(""), NotificationEvents: []string{}, NotificationType: new("")},
		CloudWatchOutputConfig: &ssm.CloudWatchOutputConfig{CloudWatchLogGroupName: new(""), CloudWatchOutputEnabled: new(false)},
	}
	steps := stepsOf(c)
	if len(steps) == 1 {
		w.StandardOutputUrl, w.StandardErrorUrl = new(s.outputURL(c, v, steps[0], "stdout")), new(s.outputURL(c, v, steps[0], "stderr"))
	}
	if !details {
		return w
	}
	known := parsePlugins(v.Plugins)
	for _, st := range steps {
		p, ok := known[st.Name]
		if !ok {
			continue
		}
		status, sd := stepStatus(v, p)
		wp := ssm.CommandPlugin{
			Name: &p.Name, Status: &status, StatusDetails: &sd, ResponseCode: new(int64(p.Code)), Output: new(cut(p.Output, 2500)),
			StandardOutputUrl: new(s.outputURL(c, v, st, "stdout")), StandardErrorUrl: new(s.outputURL(c, v, st, "stderr")),
			OutputS3Region: &c.OutputRegion, OutputS3BucketName: &c.OutputBucket, OutputS3KeyPrefix: &c.OutputPrefix,
		}
		wp.ResponseStartDateTime, wp.ResponseFinishDateTime = instant(p.Started), instant(p.Ended)
		w.CommandPlugins = append(w.CommandPlugins, wp)
	}
	return w
}

func instant(s string) *codec.Time {
	t, err := codec.ParseTimeString(s)
	if err != nil {
		return nil
	}
	return &t
}

func stepsOf(c store.Command) (steps []stepInfo) {
	_ = json.Unmarshal([]byte(c.Steps), &steps) // written by SendCommand
	return steps
}

// stepStatus is the wire form of a step's state; a step that waits for a reboot is in progress.
func stepStatus(v store.Invocation, p Plugin) (status, details string) {
	details = replyDetails(p.Status)
	if details == InProgress && Ended(v.Status) {
		details = v.StatusDetails
	}
	return coarse[details], details
}

// outputURL is where a step's whole output lies, "" without a bucket.
func (s *Service) outputURL(c store.Command, v store.Invocation, st stepInfo, stream string) string {
	if c.OutputBucket == "" {
		return ""
	}
	step := strings.ReplaceAll(st.Name, ":", "")
	if st.Name == st.Plugin { // a document of schema 1.2: the agent numbers the plugin's properties
		step = "0." + step
	}
	key := strings.Join([]string{c.ID, v.NodeID, strings.ReplaceAll(st.Plugin, ":", ""), step, stream}, "/")
	if c.OutputPrefix != "" {
		key = strings.TrimSuffix(c.OutputPrefix, "/") + "/" + key
	}
	return s.OutputURL(c.OutputBucket, key)
}

// GetCommandInvocation answers one step of a command on one node. Source: AWS Systems Manager API reference;
// PluginName may be left out only for a document of one step.
func (s *Service) GetCommandInvocation(ctx context.Context, in *ssm.GetCommandInvocationInput) (*ssm.GetCommandInvocationOutput, error) {
	sc, id, node := store.ScopeOf(ctx), codec.Value(in.CommandId), codec.Value(in.InstanceId)
	var c store.Command
	var v store.Invocation
	err := s.store.View(ctx, func(tx *store.Tx) (err error) {
		if c, err = tx.Command(sc, id); err == nil {
			v, err = tx.Invocation(sc, id, node)
		}
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, ssm.InvocationDoesNotExist("The command %s was not sent to %s.", id, node)
	}
	if err != nil {
		return nil, err
	}
	steps := stepsOf(c)
	var st stepInfo
	switch name := codec.Value(in.PluginName); {
	case name == "" && len(steps) == 1:
		st = steps[0]
	case name == "":
		return nil, ssm.InvalidPluginName("The document %s has %d steps: give the name of one of them.", c.DocumentName, len(steps))
	default:
		for _, x := range steps {
			if x.Name == name {
				st = x
			}
		}
		if st.Name == "" {
			return nil, ssm.InvalidPluginName("The document %s has no step %s.", c.DocumentName, name)
		}
	}
	p := parsePlugins(v.Plugins)[st.Name]
	out := &ssm.GetCommandInvocationOutput{
		CommandId: &c.ID, InstanceId: &v.NodeID, Comment: &c.Comment, DocumentName: &c.DocumentName, DocumentVersion: &c.DocumentVersion,
		PluginName: &st.Name, ResponseCode: new(int64(-1)), Status: &v.Status, StatusDetails: &v.StatusDetails,
		ExecutionStartDateTime: new(p.Started), ExecutionEndDateTime: new(p.Ended), ExecutionElapsedTime: new(elapsed(p.Started, p.Ended)),
		StandardOutputContent: new(cut(p.Stdout, 24000)), StandardErrorContent: new(cut(p.Stderr, 8000)),
		StandardOutputUrl: new(s.outputURL(c, v, st, "stdout")), StandardErrorUrl: new(s.outputURL(c, v, st, "stderr")),
		CloudWatchOutputConfig: &ssm.CloudWatchOutputConfig{CloudWatchLogGroupName: new(""), CloudWatchOutputEnabled: new(false)},
	}
	if p.Name == "" {
		return out, nil
	}
	status, details := stepStatus(v, p)
	if len(steps) > 1 { // with one step the invocation's own state says more
		out.Status, out.StatusDetails = &status, &details
	}
	if rank(p.Status) >= 3 {
		out.ResponseCode = new(int64(p.Code))
	} else {
		out.ExecutionEndDateTime, out.ExecutionElapsedTime = new(""), new("")
	}
	return out, nil
}

// elapsed is the time between two instants as an ISO 8601 duration, "" while one is missing.
func elapsed(from, to string) string {
	a, err1 := time.Parse(time.RFC3339, from)
	b, err2 := time.Parse(time.RFC3339, to)
	if err1 != nil || err2 != nil || b.Before(a) {
		return ""
	}
	d := b.Sub(a)
	out := "PT"
	if h := int(d.Hours()); h > 0 {
		out += fmt.Sprintf("%dH", h)
	}
	if m := int(d.Minutes()) % 60; m > 0 {
		out += fmt.Sprintf("%dM", m)
	}
	sec := d.Seconds() - float64(int(d.Minutes())*60)
	return out + strings.TrimSuffix(strings.TrimRight(strconv.FormatFloat(sec, 'f', 3, 64), "0"), ".") + "S"
}
