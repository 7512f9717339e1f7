package command

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"oakum.dev/arn"
	"oakum.dev/document"
	"oakum.dev/iam"
	"oakum.dev/internal/store"
	"oakum.dev/target"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// Defaults of SendCommand. Source: AWS Systems Manager API reference, SendCommand.
const (
	defaultTimeoutSeconds = 3600
	maxPayloadBytes       = 256 << 10 // what fits into one message
)

// stepInfo is one step of a command's document, as kept with the command.
type stepInfo struct {
	Name   string `json:"name"`
	Plugin string `json:"plugin"`
}

// SendCommand accepts a command. Command, targets, the first claims and the audit record are one transaction:
// when it returns, no crash loses the command.
func (s *Service) SendCommand(ctx context.Context, in *ssm.SendCommandInput) (*ssm.SendCommandOutput, error) {
	var out store.Command
	var wake []string
	err := s.store.Update(ctx, func(tx *store.Tx) (err error) {
		out, wake, err = s.SendIn(ctx, tx, in, "", time.Time{})
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(wake) > 0 {
		s.Wake(wake)
	}
	w := s.wireCommand(out)
	return &ssm.SendCommandOutput{Command: &w}, nil
}

// SendIn is SendCommand in a transaction of the caller, for the principal of ctx. origin is the work item, KIND:SUBJECT,
// that is due when the command has ended; empty: none. No node gets it after notAfter; the zero time is no bound. wake are
// the nodes that have got a message, for Wake after the commit. The command is answered as Pending, whatever was claimed
// already; one without targets has ended.
func (s *Service) SendIn(ctx context.Context, tx *store.Tx, in *ssm.SendCommandInput, origin string, notAfter time.Time) (out store.Command, wake []string, err error) {
	c, payload, doc, given, err := s.plan(ctx, tx, in, notAfter)
	if err != nil {
		return out, nil, err
	}
	sc := store.ScopeOf(ctx)
	c.Origin = origin
	if !notAfter.IsZero() && notAfter.Before(c.DeliverByAt) {
		c.DeliverByAt = notAfter
	}
	run, err := s.nested(ctx, tx, doc, given)
	if err != nil {
		return out, nil, err
	}
	if run.installs {
		if err := refuseFrozen(tx, sc); err != nil {
			return out, nil, err
		}
	}
	nodes, missing, err := s.resolve(tx, sc, in)
	if err != nil {
		return out, nil, err
	}
	s.connectedFirst(nodes)
	if c.PayloadHash, err = tx.PutContent(sc.Account, payload); err != nil {
		return out, nil, err
	}
	if err := setRates(&c, len(nodes)+len(missing)); err != nil {
		return out, nil, err
	}
	if err := tx.InsertCommand(c); err != nil {
		return out, nil, err
	}
	if err := tx.PutCommandDocuments(sc, c.ID, run.documents); err != nil {
		return out, nil, err
	}
	h := &change{tx: tx, sc: sc, c: c, mint: func() (string, error) { return arn.NewUUID(s.random) }}
	if err := h.invocations(nodes, missing, doc.Platforms, len(in.InstanceIds) > 0); err != nil {
		return out, nil, err
	}
	if err := tx.Schedule(WorkExpire, sc, c.ID, c.ExpiresAt); err != nil {
		return out, nil, err
	}
	out = h.c
	if err := h.refill(); err != nil {
		return out, nil, err
	}
	return out, h.wake, h.close()
}

// DocumentIn is the document that a request would send, for the principal of ctx. Errors are those of SendCommand.
func (s *Service) DocumentIn(ctx context.Context, tx *store.Tx, in *ssm.SendCommandInput) (document.Version, error) {
	return s.sendable(ctx, tx, in)
}

// CheckIn refuses what SendIn would refuse whatever the nodes are.
func (s *Service) CheckIn(ctx context.Context, tx *store.Tx, in *ssm.SendCommandInput) error {
	if _, _, _, _, err := s.plan(ctx, tx, in, time.Time{}); err != nil {
		return err
	}
	var c store.Command
	c.MaxConcurrency, c.MaxErrors = orDefault(in.MaxConcurrency, "50"), orDefault(in.MaxErrors, "0")
	return setRates(&c, 1)
}

// TargetsIn are the managed nodes that a request would be sent to.
func (s *Service) TargetsIn(tx *store.Tx, sc store.Scope, in *ssm.SendCommandInput) ([]store.Node, error) {
	nodes, _, err := s.resolve(tx, sc, in)
	return nodes, err
}

// plan checks the request and builds what does not depend on the nodes.
func (s *Service) plan(ctx context.Context, tx *store.Tx, in *ssm.SendCommandInput, notAfter time.Time) (c store.Command, payload []byte, doc document.Version, given document.Values, err error) {
	sc, now := store.ScopeOf(ctx), s.now().UTC().Truncate(time.Millisecond)
	fail := func(err error) (store.Command, []byte, document.Version, document.Values, error) {
		return store.Command{}, nil, document.Version{}, nil, err
	}
	if (len(in.InstanceIds) > 0) == (len(in.Targets) > 0) {
		return fail(ssm.InvalidParameters("Exactly one of InstanceIds and Targets must be given."))
	}
	if in.NotificationConfig != nil && codec.Value(in.NotificationConfig.NotificationArn) != "" {
		return fail(ssm.InvalidNotificationConfig("Notifications are not supported yet."))
	}
	doc, err = s.sendable(ctx, tx, in)
	if err != nil {
		return fail(err)
	}
	given, err = doc.Resolve(in.Parameters)
	if err != nil {
		return fail(parameterError(err))
	}
	if err := refuseReferences(doc, in.Parameters); err != nil {
		return fail(err)
	}
	if err := checkPatchParameters(doc.Name, in.Parameters); err != nil {
		return fail(err)
	}
	if _, err := s.nested(ctx, tx, doc, given); err != nil {
		return fail(err)
	}
	id, err := arn.NewUUID(s.random)
	if err != nil {
		return fail(err)
	}
	if err := s.fillSnapshot(doc, given); err != nil {
		return fail(err)
	}
	message := map[string]any{
		"CommandId": id, "DocumentName": doc.Name, "Parameters": given, "DocumentContent": json.RawMessage(doc.Content()),
		"OutputS3BucketName": codec.Value(in.OutputS3BucketName), "OutputS3KeyPrefix": codec.Value(in.OutputS3KeyPrefix),
		"CloudWatchLogGroupName": "", "CloudWatchOutputEnabled": "false",
	}
	if !notAfter.IsZero() { // the node has it already, and looks before it begins: it may have been away, or busy
		message["NotAfter"] = codec.NewTime(notAfter)
	}
	payload, err = json.Marshal(message)
	if err != nil {
		return fail(err)
	}
	if len(payload) > maxPayloadBytes {
		return fail(ssm.MaxDocumentSizeExceeded("The document with its parameters has %d bytes; at most %d can be sent to a node.", len(payload), maxPayloadBytes))
	}
	timeout := int64(defaultTimeoutSeconds)
	if in.TimeoutSeconds != nil {
		timeout = *in.TimeoutSeconds
	}
	var steps []stepInfo
	for _, st := range doc.Steps {
		steps = append(steps, stepInfo{st.Name, st.Action})
	}
	c = store.Command{
		Account: sc.Account, Region: sc.Region, ID: id, DocumentName: codec.Value(in.DocumentName), DocumentVersion: wireVersion(in.DocumentVersion),
		Steps: jsonText(steps), Comment: codec.Value(in.Comment), Parameters: jsonText(in.Parameters), InstanceIDs: jsonText(in.InstanceIds),
		Targets: jsonText(in.Targets), TimeoutSeconds: timeout, RequestedAt: now, DeliverByAt: now.Add(time.Duration(timeout) * time.Second),
		ExpiresAt: now.Add(doc.TotalTimeout(given, int(timeout))), OutputBucket: codec.Value(in.OutputS3BucketName),
		OutputPrefix: codec.Value(in.OutputS3KeyPrefix), OutputRegion: codec.Value(in.OutputS3Region), ServiceRole: codec.Value(in.ServiceRoleArn),
		MaxConcurrency: orDefault(in.MaxConcurrency, "50"), MaxErrors: orDefault(in.MaxErrors, "0"), Status: Pending, StatusDetails: Pending,
		RequestedBy: iam.PrincipalFrom(ctx).ARN,
	}
	return c, payload, doc, given, nil
}

func orDefault(p *string, def string) string {
	if p == nil {
		return def
	}
	return *p
}

func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "null" // strings, lists and maps of strings only: cannot fail
	}
	return string(b)
}

func parameterError(err error) error {
	if errors.Is(err, document.ErrParameters) {
		return ssm.InvalidParameters("%v", err)
	}
	return err
}

// checkPatchParameters refuses early what the engine would refuse on every node (code 167).
func checkPatchParameters(name string, given map[string][]string) error {
	set := func(k string) bool { return len(given[k]) > 0 && given[k][0] != "" }
	if document.Snapshots(name) && set("BaselineOverride") && set("InstallOverrideList") {
		return ssm.InvalidParameters("BaselineOverride and InstallOverrideList cannot be given together.")
	}
	return nil
}

// fillSnapshot gives all nodes of a patching command one snapshot when the caller names none. The command's
// Parameters echo what the caller sent.
func (s *Service) fillSnapshot(doc document.Version, given document.Values) error {
	if !document.Snapshots(doc.Name) {
		return nil
	}
	if v, _ := given["SnapshotId"].(string); v != "" {
		return nil
	}
	id, err := arn.NewUUID(s.random)
	given["SnapshotId"] = id
	return err
}

func setRates(c *store.Command, targets int) error {
	concurrency, err := target.ParseMaxConcurrency(c.MaxConcurrency)
	if err != nil {
		return ssm.InvalidParameters("MaxConcurrency: %v", err)
	}
	maxErrors, err := target.ParseMaxErrors(c.MaxErrors)
	if err != nil {
		return ssm.InvalidParameters("MaxErrors: %v", err)
	}
	ctl := target.NewControl(concurrency, maxErrors, targets)
	c.ConcurrencyLimit, c.ErrorLimit, c.TargetCount = int64(ctl.Concurrency), int64(ctl.Errors), int64(targets)
	return nil
}

// invocations creates one row per target. What can never be sent ends at once.
func (h *change) invocations(nodes []store.Node, missing []string, platforms []document.Platform, byID bool) error {
	if h.c.TargetCount == 0 {
		h.c.StatusDetails = NoInstancesInTag
		h.c.Status = coarse[NoInstancesInTag]
		return nil
	}
	add := func(i int, nodeID, end string) error {
		v := store.Invocation{
			Account: h.sc.Account, Region: h.sc.Region, CommandID: h.c.ID, NodeID: nodeID, Position: int64(i), RequestedAt: h.c.RequestedAt,
			Status: Pending, StatusDetails: Pending,
		}
		if err := h.tx.InsertInvocation(v); err != nil || end == "" {
			return err
		}
		_, err := h.step(v, Event{Kind: Dropped, Details: end})
		return err
	}
	for i, n := range nodes {
		end := ""
		if n.PlatformType != "" && !slices.Contains(platforms, document.Platform(n.PlatformType)) {
			if byID {
				return ssm.UnsupportedPlatformType("The document does not support the platform %s of %s.", n.PlatformType, n.ID)
			}
			end = InvalidPlatform
		}
		if err := add(i, n.ID, end); err != nil {
			return err
		}
	}
	for i, id := range missing {
		if err := add(len(nodes)+i, id, Undeliverable); err != nil {
			return err
		}
	}
	return nil
}

// resolve finds the nodes of a request once. missing are ids named by a target that are no managed nodes.
func (s *Service) resolve(tx *store.Tx, sc store.Scope, in *ssm.SendCommandInput) (nodes []store.Node, missing []string, err error) {
	if len(in.InstanceIds) > 0 {
		ids := slices.Clone(in.InstanceIds)
		slices.Sort(ids)
		if len(slices.Compact(slices.Clone(ids))) != len(ids) {
			return nil, nil, ssm.DuplicateInstanceId("The list of instance ids names one of them twice.")
		}
		if nodes, err = tx.NodesByID(sc, ids); err != nil {
			return nil, nil, err
		}
		if gone := absent(ids, nodes); len(gone) > 0 {
			return nil, nil, ssm.InvalidInstanceId("Instances [[%s]] not in a valid state for account %s", strings.Join(gone, ", "), sc.Account)
		}
		return nodes, nil, nil
	}
	var ids, types []string
	every, grouped := true, false
	for _, w := range in.Targets {
		switch k, _, err := (target.Target{Key: codec.Value(w.Key)}).Kind(); {
		case err != nil: // said below
		case k == target.ByResourceType:
			types = append(types, w.Values...)
		case k == target.ByResourceGroup:
			grouped = true
		}
	}
	if len(types) > 0 && !grouped {
		return nil, nil, ssm.InvalidParameters("resource-groups:ResourceTypeFilters goes with resource-groups:Name.")
	}
	for _, w := range in.Targets {
		t := target.Target{Key: codec.Value(w.Key), Values: w.Values}
		kind, name, err := t.Kind()
		if err != nil {
			return nil, nil, ssm.InvalidParameters("%v", err)
		}
		var found []string
		switch kind {
		case target.ByInstanceID:
			if slices.Contains(t.Values, "*") {
				continue
			}
			for _, v := range t.Values {
				if !arn.IsNodeID(v) {
					return nil, nil, ssm.InvalidInstanceId("Instances [[%s]] not in a valid state for account %s", v, sc.Account)
				}
			}
			found = slices.Clone(t.Values)
		case target.ByTag:
			if found, err = tx.TaggedWith(sc, "ManagedInstance", name, t.Values); err != nil {
				return nil, nil, err
			}
		case target.ByTagKey:
			for i, key := range t.Values {
				more, err := tx.TaggedKey(sc, "ManagedInstance", key)
				if err != nil {
					return nil, nil, err
				}
				if i == 0 {
					found = more
				} else {
					found = intersect(found, more)
				}
			}
		case target.ByResourceType:
			continue // narrows the group
		case target.ByResourceGroup:
			if len(t.Values) != 1 {
				return nil, nil, ssm.InvalidParameters("The target %s takes one resource group.", t.Key)
			}
			var ok bool
			if found, ok, err = s.Groups(tx, sc, t.Values[0], types); err != nil {
				return nil, nil, err
			}
			if !ok {
				return nil, nil, ssm.InvalidParameters("The resource group %s does not exist.", t.Values[0])
			}
		}
		slices.Sort(found)
		found = slices.Compact(found)
		if every {
			ids, every = found, false
		} else {
			ids = intersect(ids, found)
		}
	}
	if every {
		nodes, err = allNodes(tx, sc)
		return nodes, nil, err
	}
	for chunk := range slices.Chunk(ids, 500) {
		part, err := tx.NodesByID(sc, chunk)
		if err != nil {
			return nil, nil, err
		}
		nodes = append(nodes, part...)
	}
	return nodes, absent(ids, nodes), nil
}

// connectedFirst puts nodes that can be reached before those that cannot: under rate control a node that does not answer
// keeps its place, and at one node at a time everything behind it would wait for the command's end.
func (s *Service) connectedFirst(nodes []store.Node) {
	if s.Connected == nil {
		return
	}
	rank := func(up bool) int {
		if up {
			return 0
		}
		return 1
	}
	up := s.Connected(nodes)
	slices.SortStableFunc(nodes, func(a, b store.Node) int { return rank(up[a.ID]) - rank(up[b.ID]) })
}

func allNodes(tx *store.Tx, sc store.Scope) (nodes []store.Node, err error) {
	after := ""
	for {
		part, err := tx.Nodes(sc, after, 1000)
		if err != nil || len(part) == 0 {
			return nodes, err
		}
		nodes = append(nodes, part...)
		after = part[len(part)-1].ID
	}
}

func intersect(a, b []string) []string {
	in := map[string]bool{}
	for _, x := range b {
		in[x] = true
	}
	return slices.DeleteFunc(a, func(x string) bool { return !in[x] })
}

func absent(ids []string, nodes []store.Node) (out []string) {
	have := map[string]bool{}
	for _, n := range nodes {
		have[n.ID] = true
	}
	for _, id := range ids {
		if !have[id] {
			out = append(out, id)
		}
	}
	return out
}

// CancelCommand cancels a command on all or some nodes. What was not delivered is never delivered;
// a node that has it gets one cancel message.
func (s *Service) CancelCommand(ctx context.Context, in *ssm.CancelCommandInput) (*ssm.CancelCommandOutput, error) {
	sc, id := store.ScopeOf(ctx), codec.Value(in.CommandId)
	if ids := slices.Sorted(slices.Values(in.InstanceIds)); len(slices.Compact(ids)) != len(in.InstanceIds) {
		return nil, ssm.DuplicateInstanceId("The list of instance ids names one of them twice.")
	}
	var wake []string
	err := s.store.Update(ctx, func(tx *store.Tx) (err error) {
		wake, err = s.cancelIn(tx, sc, id, in.InstanceIds)
		if errors.Is(err, store.ErrNotFound) {
			return ssm.InvalidCommandId("Command %s was not found", id)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(wake) > 0 {
		s.Wake(wake)
	}
	return nil, nil
}

// CancelIn cancels a command on all of its nodes in a transaction of the caller. One that is not there, or has ended, is no
// error. wake is as of SendIn.
func (s *Service) CancelIn(tx *store.Tx, sc store.Scope, id string) (wake []string, err error) {
	wake, err = s.cancelIn(tx, sc, id, nil)
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return wake, err
}

func (s *Service) cancelIn(tx *store.Tx, sc store.Scope, id string, nodeIDs []string) ([]string, error) {
	h, err := s.open(tx, sc, id)
	if err != nil {
		return nil, err
	}
	if err := h.cancel(nodeIDs); err != nil {
		return nil, err
	}
	return h.wake, h.close()
}

func (h *change) cancel(ids []string) error {
	var list []store.Invocation
	for _, nodeID := range ids {
		v, err := h.tx.Invocation(h.sc, h.c.ID, nodeID)
		if errors.Is(err, store.ErrNotFound) {
			return ssm.InvalidInstanceId("The command was not sent to %s", nodeID)
		}
		if err != nil {
			return err
		}
		list = append(list, v)
	}
	if len(ids) == 0 {
		if h.c.CompletedCount < h.c.TargetCount {
			h.c.CancelRequested = true
			h.c.Status, h.c.StatusDetails = Cancelling, Cancelling
		}
		after := ""
		for {
			part, err := h.tx.OpenInvocations(h.sc, h.c.ID, after, 1000)
			if err != nil {
				return err
			}
			if len(part) == 0 {
				break
			}
			list = append(list, part...)
			after = part[len(part)-1].NodeID
		}
	}
	for _, v := range list {
		m, err := h.tx.LockMessage(h.sc, v.NodeID, sendID(h.c.ID, v.NodeID))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if _, err := h.step(v, Event{Kind: CancelAsked, Offered: !m.FirstOfferedAt.IsZero()}); err != nil {
			return err
		}
	}
	return h.refill()
}
