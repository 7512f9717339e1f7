// Package association serves State Manager associations: documents that run on nodes at once, on a schedule, and on every
// node that comes to match. When an association runs is decided in package schedule; what its runs come to, in step.go. A
// run is a command of Run Command, but for what only a node's own agent can run. Start with Service.
package association

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strconv"
	"time"

	"oakum.dev/arn"
	"oakum.dev/awserr"
	"oakum.dev/document"
	"oakum.dev/iam"
	"oakum.dev/internal/page"
	"oakum.dev/internal/store"
	"oakum.dev/internal/tag"
	"oakum.dev/target"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// Kinds of work items, beside store.WorkNodeChanged and store.WorkDocumentChanged.
const (
	WorkRun   = "association-run"          // an association's next instant; the subject is its id
	WorkStart = store.WorkAssociationStart // a run that was asked for: the association's id, and after a slash by what
	WorkStep  = "association-step"         // something may have happened to an execution: ASSOCIATION/EXECUTION/what
	WorkGone  = "association-gone"         // what a deleted association has left; the subject is its id
)

// Quotas. Source: AWS General Reference, "AWS Systems Manager endpoints and quotas".
const (
	maxAssociations = 2000
	maxVersions     = 1000
)

// Names of the associations that Patch now makes. They run for the nodes that they were made for and never again.
// Source: AWS Systems Manager User Guide, "Patch now".
const (
	PatchNow    = "AWS-PatchNowAssociation"
	PatchReboot = "AWS-PatchRebootAssociation"
)

// Tags by which an association says what the API has no member for.
const (
	ZoneTag    = "ScheduleTimezone"     // the IANA zone of its schedule; without it UTC
	TimeoutTag = "Oakum:TimeoutSeconds" // how long until the last node must have begun, 30 to 2592000
	CommentTag = "Oakum:Comment"        // the comment of its commands
)

const resourceType = "Association"

// Commands checks, sends and cancels commands in a transaction of the caller. wake are the nodes that have got a message,
// for Wake after the commit.
type Commands interface {
	DocumentIn(ctx context.Context, tx *store.Tx, in *ssm.SendCommandInput) (document.Version, error)
	CheckIn(ctx context.Context, tx *store.Tx, in *ssm.SendCommandInput) error
	TargetsIn(tx *store.Tx, sc store.Scope, in *ssm.SendCommandInput) ([]store.Node, error)
	SendIn(ctx context.Context, tx *store.Tx, in *ssm.SendCommandInput, origin string, notAfter time.Time) (c store.Command, wake []string, err error)
	CancelIn(tx *store.Tx, sc store.Scope, id string) (wake []string, err error)
}

// Compliance keeps what runs say of a node's compliance, in a transaction of the caller.
type Compliance interface {
	PutItemIn(tx *store.Tx, sc store.Scope, nodeID, complianceType string, item ssm.ComplianceItemEntry, execution *ssm.ComplianceExecutionSummary) error
	DropItemIn(tx *store.Tx, sc store.Scope, nodeID, complianceType, itemID string) error
}

// Service serves associations. It is safe for concurrent use.
type Service struct {
	store      *store.Store
	pages      page.Book
	commands   Commands
	compliance Compliance
	random     io.Reader
	now        func() time.Time
	log        *slog.Logger

	// Wake is told which nodes have got a message, after the commit.
	Wake func(nodeIDs []string)
	// Soon is told after a commit that there is work to be done now.
	Soon func()
	// Groups are the names of the resource groups that a node is in.
	Groups func(tx *store.Tx, sc store.Scope, nodeID string) ([]string, error)
	// GroupExists reports whether there is a resource group of a name or ARN; nil: all exist.
	GroupExists func(tx *store.Tx, sc store.Scope, name string) (bool, error)
	// OutputURL is the address of an object in a bucket.
	OutputURL func(bucket, key string) string
}

// New returns the service.
func New(st *store.Store, pages page.Book, commands Commands, compliance Compliance, random io.Reader, now func() time.Time, log *slog.Logger) *Service {
	return &Service{
		store: st, pages: pages, commands: commands, compliance: compliance, random: random, now: now, log: log, Wake: func([]string) {}, Soon: func() {},
		Groups:    func(*store.Tx, store.Scope, string) ([]string, error) { return nil, nil },
		OutputURL: func(bucket, key string) string { return "s3://" + bucket + "/" + key },
	}
}

// definition is what an association is, as its Body keeps it.
type definition = ssm.CreateAssociationInput

func decode(body string) (*definition, error) {
	var d definition
	return &d, codec.Unmarshal([]byte(body), &d)
}

func text(n int64) string { return strconv.FormatInt(n, 10) }

func gone() error {
	return ssm.AssociationDoesNotExist("The association does not exist.")
}

// read reads an association; lock, for a change.
func read(tx *store.Tx, sc store.Scope, id string) (store.Association, *definition, error) {
	a, err := tx.Association(sc, id)
	return known(a, err)
}

func lock(tx *store.Tx, sc store.Scope, id string) (store.Association, *definition, error) {
	a, err := tx.LockAssociation(sc, id)
	return known(a, err)
}

func known(a store.Association, err error) (store.Association, *definition, error) {
	if errors.Is(err, store.ErrNotFound) {
		return a, nil, gone()
	}
	if err != nil {
		return a, nil, err
	}
	d, err := decode(a.Body)
	return a, d, err
}

// find reads an association by its id, or by its document and node.
func find(tx *store.Tx, sc store.Scope, id, name, nodeID *string) (store.Association, *definition, error) {
	switch {
	case codec.Value(id) != "":
		return read(tx, sc, *id)
	case codec.Value(name) != "" && codec.Value(nodeID) != "":
		a, err := tx.AssociationOfNode(sc, documentName(*name), *nodeID)
		return known(a, err)
	}
	return store.Association{}, nil, awserr.Validation("AssociationId, or Name and InstanceId, must be given.")
}

// documentName is the name under which an association's document is kept: without the ARN around it where that says
// nothing more.
func documentName(name string) string {
	bare, err := arn.DocumentName(name)
	if err != nil || arn.Is(name) && !arn.IsAWSDocument(bare) {
		return name
	}
	return bare
}

// targets are those of an association: one of the old form has its node.
func targets(d *definition) []ssm.Target {
	if id := codec.Value(d.InstanceId); id != "" {
		return []ssm.Target{{Key: new("InstanceIds"), Values: []string{id}}}
	}
	return d.Targets
}

// check refuses what no association can be, as it would be sent now. id is the association's.
func (s *Service) check(ctx context.Context, tx *store.Tx, id string, d *definition) (document.Version, error) {
	doc, err := document.Version{}, error(nil)
	switch {
	case codec.Value(d.InstanceId) != "" && len(d.Targets) > 0:
		return doc, ssm.InvalidTarget("InstanceId and Targets exclude each other.")
	case len(d.TargetMaps) > 0:
		return doc, ssm.InvalidTargetMaps("TargetMaps go with automations, which this server does not run.")
	case len(d.TargetLocations) > 0:
		return doc, awserr.Validation("TargetLocations are not supported yet: an association runs in its own account and region.")
	case len(d.CalendarNames) > 0:
		return doc, awserr.Validation("CalendarNames are not supported yet.")
	case len(targets(d)) == 0:
		return doc, ssm.InvalidTarget("An association needs Targets.")
	}
	if l := d.OutputLocation; l != nil && l.S3Location != nil && codec.Value(l.S3Location.OutputS3BucketName) == "" {
		return doc, ssm.InvalidOutputLocation("The output location names no bucket.")
	}
	if err := checkTargets(targets(d)); err != nil {
		return doc, err
	}
	if err := s.checkGroup(ctx, tx, d); err != nil {
		return doc, err
	}
	if err := checkSchedule(d); err != nil {
		return doc, err
	}
	if doc, err = s.commands.DocumentIn(ctx, tx, &ssm.SendCommandInput{DocumentName: d.Name, DocumentVersion: d.DocumentVersion}); err != nil {
		return doc, err
	}
	return doc, s.commands.CheckIn(ctx, tx, request(id, id, d, doc))
}

func checkTargets(list []ssm.Target) error {
	var out []target.Target
	for _, t := range list {
		out = append(out, target.Target{Key: codec.Value(t.Key), Values: t.Values})
	}
	if err := target.Validate(out); err != nil {
		return ssm.InvalidTarget("The target isn't valid or does not exist: %v.", err)
	}
	types, group := false, false
	for _, t := range out {
		switch kind, _, _ := t.Kind(); kind {
		case target.ByResourceGroup:
			if len(t.Values) != 1 || group {
				return ssm.InvalidTarget("An association takes one resource group.")
			}
			group = true
		case target.ByResourceType:
			types = true
		case target.ByInstanceID:
			for _, v := range t.Values {
				if v != "*" && !arn.IsNodeID(v) {
					return ssm.InvalidTarget("%s is not the id of a managed node.", v)
				}
			}
		}
	}
	if types && !group {
		return ssm.InvalidTarget("resource-groups:ResourceTypeFilters goes with resource-groups:Name.")
	}
	return nil
}

// checkGroup refuses a resource group that does not exist.
func (s *Service) checkGroup(ctx context.Context, tx *store.Tx, d *definition) error {
	for _, t := range d.Targets {
		if kind, _, err := (target.Target{Key: codec.Value(t.Key)}).Kind(); err != nil || kind != target.ByResourceGroup || s.GroupExists == nil {
			continue
		}
		for _, name := range t.Values {
			if ok, err := s.GroupExists(tx, store.ScopeOf(ctx), name); err != nil {
				return err
			} else if !ok {
				return ssm.InvalidTarget("The resource group %s does not exist.", name)
			}
		}
	}
	return nil
}

// checkNode refuses an association of the old form with a node that is not there, cannot run the document, or has one
// with it already.
func checkNode(tx *store.Tx, sc store.Scope, d *definition, doc document.Version, self string) error {
	id := codec.Value(d.InstanceId)
	if id == "" {
		return nil
	}
	n, err := tx.Node(sc, id)
	if errors.Is(err, store.ErrNotFound) {
		return ssm.InvalidInstanceId("Instances [[%s]] not in a valid state for account %s", id, sc.Account)
	}
	if err != nil {
		return err
	}
	if n.PlatformType != "" && !supports(doc, n) {
		return ssm.UnsupportedPlatformType("The document does not support the platform %s of %s.", n.PlatformType, n.ID)
	}
	other, err := tx.AssociationOfNode(sc, documentName(codec.Value(d.Name)), id)
	if errors.Is(err, store.ErrNotFound) || err == nil && other.ID == self {
		return nil
	}
	if err == nil {
		err = ssm.AssociationAlreadyExists("The specified association already exists.")
	}
	return err
}

func supports(doc document.Version, n store.Node) bool {
	for _, p := range doc.Platforms {
		if string(p) == n.PlatformType {
			return true
		}
	}
	return false
}

// CreateAssociation makes an association, and promises its first run.
func (s *Service) CreateAssociation(ctx context.Context, in *ssm.CreateAssociationInput) (*ssm.CreateAssociationOutput, error) {
	var out *ssm.AssociationDescription
	err := s.store.Update(ctx, func(tx *store.Tx) (err error) {
		out, err = s.create(ctx, tx, in)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.Soon()
	return &ssm.CreateAssociationOutput{AssociationDescription: out}, nil
}

func (s *Service) create(ctx context.Context, tx *store.Tx, in *ssm.CreateAssociationInput) (*ssm.AssociationDescription, error) {
	if err := tag.Check(in.Tags); err != nil {
		return nil, err
	}
	sc := store.ScopeOf(ctx)
	id, err := arn.NewUUID(s.random)
	if err != nil {
		return nil, err
	}
	d := *in
	d.Tags = nil
	doc, err := s.check(ctx, tx, id, &d)
	if err != nil {
		return nil, err
	}
	if err := checkNode(tx, sc, &d, doc, ""); err != nil {
		return nil, err
	}
	if n, err := tx.AssociationCount(sc); err != nil {
		return nil, err
	} else if n >= maxAssociations {
		return nil, ssm.AssociationLimitExceeded("There are %d associations already; at most %d are allowed.", n, maxAssociations)
	}
	for _, t := range in.Tags {
		if codec.Value(t.Key) == ZoneTag {
			if _, err := whenOf(&d, codec.Value(t.Value)); err != nil {
				return nil, err
			}
		}
		if err := tx.PutTag(sc, resourceType, id, store.Tag{Key: codec.Value(t.Key), Value: codec.Value(t.Value)}); err != nil {
			return nil, err
		}
	}
	a := store.Association{
		ID: id, DocumentName: documentName(codec.Value(d.Name)), Name: codec.Value(d.AssociationName), NodeID: codec.Value(d.InstanceId), Version: 1,
		Body: string(codec.Marshal(&d)), CreatedAt: tx.Now(), ModifiedAt: tx.Now(), AnchorAt: tx.Now(),
		Status: statusBlock("Associated", "Associated with "+codec.Value(d.Name), tx.Now()), Overview: overview{Status: pending, Detailed: creating}.text(),
	}
	if err := s.plan(tx, sc, &a, &d, tx.Now()); err != nil {
		return nil, err
	}
	if err := tx.InsertAssociation(sc, a); err != nil {
		return nil, err
	}
	if err := tx.InsertAssociationVersion(sc, store.AssociationVersion{AssociationID: id, Version: 1, Body: a.Body, CreatedAt: tx.Now()}); err != nil {
		return nil, err
	}
	if runsAtOnce(&d) {
		if err := tx.Schedule(WorkStart, sc, id+"/"+string(created), tx.Now()); err != nil {
			return nil, err
		}
	}
	return describe(a, &d)
}

// CreateAssociationBatch makes several associations, and says of each that it could not make why.
func (s *Service) CreateAssociationBatch(ctx context.Context, in *ssm.CreateAssociationBatchInput) (*ssm.CreateAssociationBatchOutput, error) {
	out := &ssm.CreateAssociationBatchOutput{Successful: []ssm.AssociationDescription{}, Failed: []ssm.FailedCreateAssociation{}}
	for i := range in.Entries {
		e := &in.Entries[i]
		made, err := s.CreateAssociation(ctx, &ssm.CreateAssociationInput{
			Name: e.Name, DocumentVersion: e.DocumentVersion, InstanceId: e.InstanceId, Parameters: e.Parameters, Targets: e.Targets, ScheduleExpression: e.ScheduleExpression,
			OutputLocation: e.OutputLocation, AssociationName: e.AssociationName, AutomationTargetParameterName: e.AutomationTargetParameterName, MaxErrors: e.MaxErrors,
			MaxConcurrency: e.MaxConcurrency, ComplianceSeverity: e.ComplianceSeverity, SyncCompliance: e.SyncCompliance, ApplyOnlyAtCronInterval: e.ApplyOnlyAtCronInterval,
			CalendarNames: e.CalendarNames, TargetLocations: e.TargetLocations, ScheduleOffset: e.ScheduleOffset, Duration: e.Duration, TargetMaps: e.TargetMaps,
			AlarmConfiguration: e.AlarmConfiguration, AssociationDispatchAssumeRole: in.AssociationDispatchAssumeRole,
		})
		if known, ok := errors.AsType[*awserr.Error](err); ok {
			out.Failed = append(out.Failed, ssm.FailedCreateAssociation{Entry: e, Message: new(known.Code + ": " + known.Message), Fault: new("Client")})
		} else if err != nil {
			return nil, err
		} else {
			out.Successful = append(out.Successful, *made.AssociationDescription)
		}
	}
	return out, nil
}

// UpdateAssociation makes a new version of an association, which runs on all of its targets: at once, or when what runs
// has ended. Optional members that are not repeated are gone, but for the document and the targets.
// Source: AWS API reference, UpdateAssociation.
func (s *Service) UpdateAssociation(ctx context.Context, in *ssm.UpdateAssociationInput) (*ssm.UpdateAssociationOutput, error) {
	sc := store.ScopeOf(ctx)
	var out *ssm.AssociationDescription
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		a, was, err := lock(tx, sc, codec.Value(in.AssociationId))
		if err != nil {
			return err
		}
		if v := codec.Value(in.AssociationVersion); v != "" && v != "$LATEST" && v != text(a.Version) {
			return ssm.InvalidAssociationVersion("The version %s is not the latest one of the association, which is %d.", v, a.Version)
		}
		if a.Version >= maxVersions {
			return ssm.AssociationVersionLimitExceeded("The association has %d versions already.", a.Version)
		}
		d := &definition{
			Name: was.Name, InstanceId: was.InstanceId, Targets: was.Targets, DocumentVersion: in.DocumentVersion, Parameters: in.Parameters, ScheduleExpression: in.ScheduleExpression,
			OutputLocation: in.OutputLocation, AssociationName: in.AssociationName, AutomationTargetParameterName: in.AutomationTargetParameterName, MaxErrors: in.MaxErrors,
			MaxConcurrency: in.MaxConcurrency, ComplianceSeverity: in.ComplianceSeverity, SyncCompliance: in.SyncCompliance, ApplyOnlyAtCronInterval: in.ApplyOnlyAtCronInterval,
			CalendarNames: in.CalendarNames, TargetLocations: in.TargetLocations, ScheduleOffset: in.ScheduleOffset, Duration: in.Duration, TargetMaps: in.TargetMaps,
			AlarmConfiguration: in.AlarmConfiguration, AssociationDispatchAssumeRole: in.AssociationDispatchAssumeRole,
		}
		if codec.Value(in.Name) != "" {
			d.Name = in.Name
		}
		if len(in.Targets) > 0 {
			d.Targets, d.InstanceId = in.Targets, nil
		}
		doc, err := s.check(ctx, tx, a.ID, d)
		if err != nil {
			return err
		}
		if err := checkNode(tx, sc, d, doc, a.ID); err != nil {
			return err
		}
		a.DocumentName, a.Name, a.NodeID, a.Body = documentName(codec.Value(d.Name)), codec.Value(d.AssociationName), codec.Value(d.InstanceId), string(codec.Marshal(d))
		if codec.Value(d.Name) != codec.Value(was.Name) {
			a.Status = statusBlock("Associated", "Associated with "+codec.Value(d.Name), tx.Now())
		}
		a.Version++
		a.ModifiedAt, a.AnchorAt = tx.Now(), tx.Now()
		if err := s.plan(tx, sc, &a, d, tx.Now()); err != nil {
			return err
		}
		if err := tx.SaveAssociation(sc, a); err != nil {
			return err
		}
		if err := tx.InsertAssociationVersion(sc, store.AssociationVersion{AssociationID: a.ID, Version: a.Version, Body: a.Body, CreatedAt: tx.Now()}); err != nil {
			return err
		}
		if runsAtOnce(d) {
			if err := tx.Schedule(WorkStart, sc, a.ID+"/"+string(changed), tx.Now()); err != nil {
				return err
			}
		}
		out, err = describe(a, d)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.Soon()
	return &ssm.UpdateAssociationOutput{AssociationDescription: out}, nil
}

// DeleteAssociation removes an association. What runs of it is cancelled, and what it said of nodes' compliance goes.
func (s *Service) DeleteAssociation(ctx context.Context, in *ssm.DeleteAssociationInput) (*ssm.DeleteAssociationOutput, error) {
	sc := store.ScopeOf(ctx)
	var wake []string
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		wake = nil
		a, _, err := find(tx, sc, in.AssociationId, in.Name, in.InstanceId)
		if err != nil {
			return err
		}
		if a, _, err = lock(tx, sc, a.ID); err != nil {
			return err
		}
		wake, err = s.remove(tx, sc, a.ID)
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

// remove takes a locked association away; what it has left goes by and by.
func (s *Service) remove(tx *store.Tx, sc store.Scope, id string) (wake []string, err error) {
	open, err := tx.RunningAssociationExecutions(sc, id)
	if err != nil {
		return nil, err
	}
	for _, e := range open {
		if e.CommandID == "" {
			continue
		}
		more, err := s.commands.CancelIn(tx, sc, e.CommandID)
		if err != nil {
			return nil, err
		}
		wake = append(wake, more...)
	}
	if err := tx.Unschedule(WorkRun, sc, id); err != nil {
		return nil, err
	}
	if err := tx.DeleteAssociation(sc, id); err != nil {
		return nil, err
	}
	return wake, tx.Schedule(WorkGone, sc, id, tx.Now())
}

// Gone takes away what a deleted association has left: its executions, and how it stood on nodes. It is the handler of
// WorkGone.
func (s *Service) Gone(ctx context.Context, w store.WorkItem) error {
	sc := store.Scope{Account: w.Account, Region: w.Region}
	return s.store.Update(ctx, func(tx *store.Tx) error {
		if ok, err := tx.FinishWork(w); err != nil || !ok {
			return err
		}
		rest, err := tx.AssociationNodes(sc, w.Subject, "", nodesPerTurn)
		if err != nil {
			return err
		}
		for _, n := range rest {
			if err := s.forget(tx, sc, w.Subject, n.NodeID); err != nil {
				return err
			}
		}
		if len(rest) == nodesPerTurn {
			return tx.Schedule(WorkGone, sc, w.Subject, tx.Now())
		}
		return tx.DeleteAssociationExecutions(sc, w.Subject)
	})
}

// forget takes away how an association stood on a node.
func (s *Service) forget(tx *store.Tx, sc store.Scope, id, nodeID string) error {
	if err := s.compliance.DropItemIn(tx, sc, nodeID, resourceType, id); err != nil {
		return err
	}
	return tx.DeleteAssociationNode(sc, id, nodeID)
}

// Sweep takes away what Patch now made before the given time and is over. It returns how many that were.
func (s *Service) Sweep(tx *store.Tx, before time.Time, limit int) (int64, error) {
	var n int64
	for _, name := range []string{PatchNow, PatchReboot} {
		list, err := tx.OldAssociations(name, before, limit)
		if err != nil {
			return 0, err
		}
		for _, k := range list {
			sc := store.Scope{Account: k.Account, Region: k.Region}
			if _, err := tx.LockAssociation(sc, k.ID); errors.Is(err, store.ErrNotFound) {
				continue
			} else if err != nil {
				return 0, err
			}
			if _, err := s.remove(tx, sc, k.ID); err != nil {
				return 0, err
			}
			n++
		}
	}
	return n, nil
}

// StartAssociationsOnce runs associations now, all of them or none.
func (s *Service) StartAssociationsOnce(ctx context.Context, in *ssm.StartAssociationsOnceInput) (*ssm.StartAssociationsOnceOutput, error) {
	sc := store.ScopeOf(ctx)
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		for _, id := range in.AssociationIds {
			if _, err := tx.Association(sc, id); errors.Is(err, store.ErrNotFound) {
				return ssm.InvalidAssociation("The association %s is not valid or does not exist.", id)
			} else if err != nil {
				return err
			}
			if err := tx.Schedule(WorkStart, sc, id+"/"+string(asked), tx.Now()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.Soon()
	return nil, nil
}

// principal is the caller in whose name runs are sent.
func principal(ctx context.Context, sc store.Scope) context.Context {
	return iam.WithPrincipal(ctx, iam.Principal{
		Kind: iam.Administrator, Account: sc.Account, Region: sc.Region,
		ARN: "arn:aws:iam::" + sc.Account + ":role/aws-service-role/ssm.amazonaws.com/AWSServiceRoleForAmazonSSM",
	})
}
