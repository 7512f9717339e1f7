package store

import (
	"errors"
	"time"
)

// Counts are the numbers of a node's patches per state.
type Counts struct {
	Installed, InstalledOther, InstalledPendingReboot, InstalledRejected int64
	Missing, Failed, NotApplicable, UnreportedNotApplicable              int64
	AvailableSecurityUpdate                                              int64
	CriticalNonCompliant, SecurityNonCompliant, OtherNonCompliant        int64
}

func (c *Counts) fields() []any {
	return []any{
		&c.Installed, &c.InstalledOther, &c.InstalledPendingReboot, &c.InstalledRejected, &c.Missing, &c.Failed, &c.NotApplicable,
		&c.UnreportedNotApplicable, &c.AvailableSecurityUpdate, &c.CriticalNonCompliant, &c.SecurityNonCompliant, &c.OtherNonCompliant,
	}
}

const countColumns = `installed, installed_other, installed_pending_reboot, installed_rejected, missing, failed, not_applicable,
	unreported_not_applicable, available_security_update, critical_non_compliant, security_non_compliant, other_non_compliant`

// NodeState is the published scan of a node.
type NodeState struct {
	Account, Region       string
	NodeID                string
	BootID                string
	ScanSeq               int64
	Operation             string
	StartedAt             time.Time
	EndedAt               time.Time
	PublishedAt           time.Time
	StaleAt               time.Time
	BaselineID            string
	SnapshotID            string
	PatchGroup            string
	ExecutionID           string
	ExecutionType         string
	RebootOption          string
	InstallOverrideList   string
	LastNoRebootInstallAt time.Time
	RebootRequired        bool
	Status                string
	Severity              string
	Counts                Counts
	SeverityCounts        string // JSON
	Header                []byte // zstd
	ResultHash            string
	AvailableHash         string
	OperatingSystem       string // whose registered baseline judged; empty: another one, such as a policy's
	PredefinedID          string // the predefined default of that operating system
	LivePatch             string // JSON: kernel live patching; empty: none
}

func (s *NodeState) fields() []any {
	f := []any{
		&s.Account, &s.Region, &s.NodeID, &s.BootID, &s.ScanSeq, &s.Operation,
		instant{&s.StartedAt},
		instant{&s.EndedAt},
		instant{&s.PublishedAt},
		instant{&s.StaleAt},
		&s.BaselineID, &s.SnapshotID, &s.PatchGroup, &s.ExecutionID, &s.ExecutionType, &s.RebootOption, &s.InstallOverrideList,
		instant{&s.LastNoRebootInstallAt},
		&s.RebootRequired, &s.Status, &s.Severity,
	}
	f = append(f, s.Counts.fields()...)
	return append(f, &s.SeverityCounts, &s.Header, &s.ResultHash, &s.AvailableHash, &s.OperatingSystem, &s.PredefinedID, &s.LivePatch)
}

const stateColumns = `account, region, node_id, boot_id, scan_seq, operation, started_at, ended_at, published_at,
	stale_at, baseline_id, snapshot_id, patch_group, execution_id, execution_type, reboot_option, install_override_list,
	last_no_reboot_install_at, reboot_required, status, severity, ` + countColumns + `, severity_counts, header, result_hash, available_hash, operating_system, predefined_id, live_patch`

// clockSlack is how far a node's clock may be ahead before its scans count as taken with a wrong clock.
const clockSlack = 5 * time.Minute

// PutNodeState publishes a node's scan, unless the published one is newer. It reports whether it did. Scans
// of one boot are ordered by their number, others by their end. A lower number of the same boot comes from a node
// that lost its count if it ended after the published scan came in; a published scan of the future was taken with
// a wrong clock, and any other takes its place.
func (tx *Tx) PutNodeState(s NodeState) (bool, error) {
	c := s.Counts
	n, err := tx.exec(`INSERT INTO node_state (`+stateColumns+`) VALUES (`+placeholders(1, 40)+`)
		ON CONFLICT (account, region, node_id) DO UPDATE SET boot_id = excluded.boot_id, scan_seq = excluded.scan_seq, operation = excluded.operation,
		started_at = excluded.started_at, ended_at = excluded.ended_at, published_at = excluded.published_at, stale_at = excluded.stale_at,
		baseline_id = excluded.baseline_id, snapshot_id = excluded.snapshot_id, patch_group = excluded.patch_group, execution_id = excluded.execution_id,
		execution_type = excluded.execution_type, reboot_option = excluded.reboot_option, install_override_list = excluded.install_override_list,
		last_no_reboot_install_at = excluded.last_no_reboot_install_at, reboot_required = excluded.reboot_required, status = excluded.status,
		severity = excluded.severity, installed = excluded.installed, installed_other = excluded.installed_other,
		installed_pending_reboot = excluded.installed_pending_reboot, installed_rejected = excluded.installed_rejected, missing = excluded.missing,
		failed = excluded.failed, not_applicable = excluded.not_applicable, unreported_not_applicable = excluded.unreported_not_applicable,
		available_security_update = excluded.available_security_update, critical_non_compliant = excluded.critical_non_compliant,
		security_non_compliant = excluded.security_non_compliant, other_non_compliant = excluded.other_non_compliant,
		severity_counts = excluded.severity_counts, header = excluded.header, result_hash = excluded.result_hash, available_hash = excluded.available_hash,
		operating_system = excluded.operating_system, predefined_id = excluded.predefined_id, live_patch = excluded.live_patch
		WHERE CASE WHEN node_state.ended_at > $41 THEN TRUE
			WHEN excluded.boot_id = '' OR excluded.boot_id <> node_state.boot_id OR excluded.scan_seq = node_state.scan_seq THEN excluded.ended_at > node_state.ended_at
			WHEN excluded.scan_seq > node_state.scan_seq THEN TRUE
			ELSE excluded.ended_at > node_state.published_at END`,
		s.Account, s.Region, s.NodeID, s.BootID, s.ScanSeq, s.Operation, at(s.StartedAt), at(s.EndedAt), at(s.PublishedAt), at(s.StaleAt),
		s.BaselineID, s.SnapshotID, s.PatchGroup, s.ExecutionID, s.ExecutionType, s.RebootOption, s.InstallOverrideList,
		at(s.LastNoRebootInstallAt), s.RebootRequired, s.Status, s.Severity,
		c.Installed, c.InstalledOther, c.InstalledPendingReboot, c.InstalledRejected, c.Missing, c.Failed, c.NotApplicable,
		c.UnreportedNotApplicable, c.AvailableSecurityUpdate, c.CriticalNonCompliant, c.SecurityNonCompliant, c.OtherNonCompliant,
		s.SeverityCounts, s.Header, s.ResultHash, s.AvailableHash, s.OperatingSystem, s.PredefinedID, s.LivePatch, at(tx.now.Add(clockSlack)))
	return n == 1, err
}

// NodeState reads the published scan of a node, or ErrNotFound.
func (tx *Tx) NodeState(sc Scope, nodeID string) (NodeState, error) {
	return one[NodeState](tx, `SELECT `+stateColumns+` FROM node_state WHERE account = $1 AND region = $2 AND node_id = $3`, sc.Account, sc.Region, nodeID)
}

// NodeStates reads the published scans of the nodes named, in the order of their ids.
func (tx *Tx) NodeStates(sc Scope, ids []string) ([]NodeState, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	args := append([]any{sc.Account, sc.Region}, anys(ids)...)
	return all[NodeState](tx, `SELECT `+stateColumns+` FROM node_state WHERE account = $1 AND region = $2 AND node_id IN (`+placeholders(3, len(ids))+`)
		ORDER BY node_id`, args...)
}

// StatesAfter lists published scans of registered nodes with an id above after.
func (tx *Tx) StatesAfter(sc Scope, after string, limit int) ([]NodeState, error) {
	return all[NodeState](tx, `SELECT `+prefixed("s", stateColumns)+` FROM node_state s
		JOIN node n ON n.account = s.account AND n.region = s.region AND n.id = s.node_id
		WHERE s.account = $1 AND s.region = $2 AND s.node_id > $3 AND n.deregistered_at = 0 ORDER BY s.node_id LIMIT $4`, sc.Account, sc.Region, after, limit)
}

// StatesOfGroup lists published scans of the registered nodes of a patch group with an id above after.
func (tx *Tx) StatesOfGroup(sc Scope, group, after string, limit int) ([]NodeState, error) {
	return all[NodeState](tx, `SELECT `+prefixed("s", stateColumns)+` FROM node n
		JOIN node_state s ON s.account = n.account AND s.region = n.region AND s.node_id = n.id
		WHERE n.account = $1 AND n.region = $2 AND n.patch_group = $3 AND n.id > $4 AND n.deregistered_at = 0 ORDER BY n.id LIMIT $5`,
		sc.Account, sc.Region, group, after, limit)
}

// DeleteNodeState takes a node's results out of every list.
func (tx *Tx) DeleteNodeState(sc Scope, nodeID string, nodeNum int64) error {
	if _, err := tx.exec(`DELETE FROM noncompliant WHERE account = $1 AND region = $2 AND node_num = $3`, sc.Account, sc.Region, nodeNum); err != nil {
		return err
	}
	if _, err := tx.exec(`DELETE FROM compliance_set WHERE account = $1 AND region = $2 AND node_id = $3`, sc.Account, sc.Region, nodeID); err != nil {
		return err
	}
	_, err := tx.exec(`DELETE FROM node_state WHERE account = $1 AND region = $2 AND node_id = $3`, sc.Account, sc.Region, nodeID)
	return err
}

// GroupState counts the nodes of a patch group by what they have.
type GroupState struct {
	Instances int64
	With      Counts // nodes with at least one patch in the state
}

func (g *GroupState) fields() []any { return append([]any{&g.Instances}, g.With.fields()...) }

// GroupState sums up a patch group; nodes without a scan count in Instances only.
func (tx *Tx) GroupState(sc Scope, group string) (GroupState, error) {
	return one[GroupState](tx, `SELECT count(*), count(*) FILTER (WHERE s.installed > 0), count(*) FILTER (WHERE s.installed_other > 0),
		count(*) FILTER (WHERE s.installed_pending_reboot > 0), count(*) FILTER (WHERE s.installed_rejected > 0), count(*) FILTER (WHERE s.missing > 0),
		count(*) FILTER (WHERE s.failed > 0), count(*) FILTER (WHERE s.not_applicable > 0), count(*) FILTER (WHERE s.unreported_not_applicable > 0),
		count(*) FILTER (WHERE s.available_security_update > 0), count(*) FILTER (WHERE s.critical_non_compliant > 0),
		count(*) FILTER (WHERE s.security_non_compliant > 0), count(*) FILTER (WHERE s.other_non_compliant > 0)
		FROM node n LEFT JOIN node_state s ON s.account = n.account AND s.region = n.region AND s.node_id = n.id
		WHERE n.account = $1 AND n.region = $2 AND n.patch_group = $3 AND n.deregistered_at = 0`, sc.Account, sc.Region, group)
}

// FleetSummary counts the managed nodes: Compliant + NonCompliant + Stale + Unknown = Managed.
type FleetSummary struct {
	Managed, Compliant, NonCompliant, Stale, Unknown, Online int64
}

func (f *FleetSummary) fields() []any {
	return []any{&f.Managed, &f.Compliant, &f.NonCompliant, &f.Stale, &f.Unknown, &f.Online}
}

// withBaselines joins a node n and its state s with the baseline that judged (b) and with the registrations that say
// which one would judge now: that of its patch group (g), else the default of its operating system (d).
const withBaselines = ` LEFT JOIN patch_baseline b ON b.account = s.account AND b.region = s.region AND b.id = s.baseline_id
	LEFT JOIN patch_group g ON g.account = n.account AND g.region = n.region AND g.patch_group = n.patch_group AND g.operating_system = s.operating_system
	LEFT JOIN default_baseline d ON d.account = s.account AND d.region = s.region AND d.operating_system = s.operating_system`

// outdated says that a scan no longer answers for its node, however young it is: its baseline was changed
// after it began, or another one would judge the node now.
const outdated = `(COALESCE(b.modified_at, 0) > s.started_at
	OR (s.operating_system <> '' AND COALESCE(g.baseline_id, d.baseline_id, s.predefined_id) <> s.baseline_id))`

// FleetSummary counts each state by a positive predicate, in one query. A scan is stale when its time is over or
// when it is outdated.
func (tx *Tx) FleetSummary(sc Scope, onlineSince time.Time) (FleetSummary, error) {
	return one[FleetSummary](tx, `SELECT count(*),
		count(*) FILTER (WHERE s.status = 'COMPLIANT' AND s.stale_at > $1 AND NOT `+outdated+`),
		count(*) FILTER (WHERE s.status = 'NON_COMPLIANT' AND s.stale_at > $1 AND NOT `+outdated+`),
		count(*) FILTER (WHERE s.node_id IS NOT NULL AND (s.stale_at <= $1 OR `+outdated+`)),
		count(*) FILTER (WHERE s.node_id IS NULL),
		count(*) FILTER (WHERE n.last_ping_at > $2)
		FROM node n LEFT JOIN node_state s ON s.account = n.account AND s.region = n.region AND s.node_id = n.id`+withBaselines+`
		WHERE n.account = $3 AND n.region = $4 AND n.deregistered_at = 0`, at(tx.now), at(onlineSince), sc.Account, sc.Region)
}

// Outdated tells of the nodes named which ones have a published scan that FleetSummary counts as stale although its
// time is not over.
func (tx *Tx) Outdated(sc Scope, ids []string) ([]string, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	args := append([]any{sc.Account, sc.Region}, anys(ids)...)
	return column[string](tx, `SELECT n.id FROM node n JOIN node_state s ON s.account = n.account AND s.region = n.region AND s.node_id = n.id`+withBaselines+`
		WHERE n.account = $1 AND n.region = $2 AND n.id IN (`+placeholders(3, len(ids))+`) AND `+outdated+` ORDER BY n.id`, args...)
}

// AppendScanHistory keeps one line per scan.
func (tx *Tx) AppendScanHistory(s NodeState) error {
	_, err := tx.exec(`INSERT INTO scan_history (account, region, node_id, ended_at, operation, baseline_id, execution_id, status, installed, missing, failed, result_hash)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (account, region, node_id, ended_at) DO NOTHING`,
		s.Account, s.Region, s.NodeID, at(s.EndedAt), s.Operation, s.BaselineID, s.ExecutionID, s.Status, s.Counts.Installed, s.Counts.Missing,
		s.Counts.Failed, s.ResultHash)
	return err
}

// DeleteOldHistory removes scan history older than before, at most limit lines.
func (tx *Tx) DeleteOldHistory(before time.Time, limit int) (int64, error) {
	return tx.exec(`DELETE FROM scan_history WHERE (account, region, node_id, ended_at) IN
		(SELECT account, region, node_id, ended_at FROM scan_history WHERE ended_at < $1 ORDER BY ended_at LIMIT $2)`, at(before), limit)
}

// NonCompliant is one entry of the index of what is not fine.
type NonCompliant struct {
	PatchNum int64
	State    string
	Level    string
}

func (n *NonCompliant) fields() []any { return []any{&n.PatchNum, &n.State, &n.Level} }

// NonCompliantOf lists the index entries of a node.
func (tx *Tx) NonCompliantOf(sc Scope, nodeNum int64) ([]NonCompliant, error) {
	return all[NonCompliant](tx, `SELECT patch_num, state, level FROM noncompliant WHERE account = $1 AND region = $2 AND node_num = $3 ORDER BY patch_num`,
		sc.Account, sc.Region, nodeNum)
}

// PutNonCompliant adds or changes an index entry.
func (tx *Tx) PutNonCompliant(sc Scope, nodeNum int64, n NonCompliant) error {
	_, err := tx.exec(`INSERT INTO noncompliant (account, region, patch_num, node_num, state, level) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (account, region, patch_num, node_num) DO UPDATE SET state = excluded.state, level = excluded.level`,
		sc.Account, sc.Region, n.PatchNum, nodeNum, n.State, n.Level)
	return err
}

// DeleteNonCompliant removes an index entry.
func (tx *Tx) DeleteNonCompliant(sc Scope, nodeNum, patchNum int64) error {
	_, err := tx.exec(`DELETE FROM noncompliant WHERE account = $1 AND region = $2 AND patch_num = $3 AND node_num = $4`, sc.Account, sc.Region, patchNum, nodeNum)
	return err
}

// NodesWithPatch lists the numbers of the nodes on which a patch is not fine.
func (tx *Tx) NodesWithPatch(sc Scope, patchNum, after int64, limit int) ([]int64, error) {
	return column[int64](tx, `SELECT node_num FROM noncompliant WHERE account = $1 AND region = $2 AND patch_num = $3 AND node_num > $4 ORDER BY node_num LIMIT $5`,
		sc.Account, sc.Region, patchNum, after, limit)
}

// PatchNum is the account's number of a patch id, given out on first use.
func (tx *Tx) PatchNum(account, patchID string) (int64, error) {
	n, err := scalar[int64](tx, `SELECT num FROM patch_dict WHERE account = $1 AND patch_id = $2`, account, patchID)
	if !errors.Is(err, ErrNotFound) {
		return n, err
	}
	num, err := tx.NextNumber(Scope{Account: account}, "patch")
	if err != nil {
		return 0, err
	}
	return scalar[int64](tx, `INSERT INTO patch_dict (account, num, patch_id) VALUES ($1, $2, $3)
		ON CONFLICT (account, patch_id) DO UPDATE SET patch_id = excluded.patch_id RETURNING num`, account, num, patchID)
}
