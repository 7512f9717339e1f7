// Package patchbaseline serves patch baselines: custom and predefined ones, defaults, patch groups, the frozen
// snapshots that nodes judge by, and the catalogue of patches that they are previewed against. What a baseline
// approves is decided in package baseline. Start with Service.
package patchbaseline

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"oakum.dev/arn"
	"oakum.dev/awserr"
	"oakum.dev/baseline"
	"oakum.dev/internal/page"
	"oakum.dev/internal/store"
	"oakum.dev/internal/tag"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// Quotas of an account and region. Source: AWS Systems Manager User Guide, "Patch Manager quotas".
const (
	maxBaselines = 50
	maxGroups    = 25 // patch groups a baseline
)

const resourceType = "PatchBaseline"

// Messages that outside tests compare word for word. The second is a historical oddity.
const (
	msgGone        = "Patch Baseline to be retrieved does not exist."
	msgGoneOnGroup = "Maintenance window %s does not exist"
)

// Presence lays what is known of contacts in memory over stored nodes.
type Presence interface {
	Lay(nodes []store.Node)
}

// Service serves patch baselines. It is safe for concurrent use.
type Service struct {
	store    *store.Store
	pages    page.Book
	presence Presence
	random   io.Reader
	now      func() time.Time
	linkKey  []byte // signs the links to snapshots

	// LivePatchReboot is put into new snapshots: nodes reboot as with AWS after an install of live patches alone. It is
	// set before the service is used.
	LivePatchReboot bool
}

// New returns the service. linkKey signs the links under which nodes fetch snapshots.
func New(st *store.Store, pages page.Book, presence Presence, linkKey []byte, random io.Reader, now func() time.Time) *Service {
	return &Service{store: st, pages: pages, presence: presence, random: random, now: now, linkKey: linkKey}
}

// ref is a baseline that a caller named: a predefined one, or the bare id of a custom one.
type ref struct {
	id         string
	predefined *baseline.Predefined
}

// named reads a BaselineId: a bare id or a full ARN of this tenant.
func named(sc store.Scope, text string) (ref, error) {
	id, err := arn.BaselineID(text)
	if err != nil {
		return ref{}, ssm.InvalidResourceId("The resource ID isn't valid. Verify that you entered the correct ID and try again.")
	}
	if p, ok := baseline.FindPredefined(id); ok {
		return ref{p.BaselineID, &p}, nil
	}
	if a, err := arn.Parse(text); err == nil && (a.Account != sc.Account || a.Region != sc.Region) {
		return ref{id: "pb-00000000000000000"}, nil // another tenant's: nothing that exists here
	}
	return ref{id: id}, nil
}

// wireID is how a baseline is named in answers: predefined ones by ARN, custom ones by id.
func wireID(sc store.Scope, id string) string {
	if baseline.IsPredefined(id) {
		return arn.BaselineARN(id, sc.Account, sc.Region)
	}
	return id
}

// load reads a baseline with its dates.
func load(tx *store.Tx, sc store.Scope, r ref, missing string) (*baseline.Baseline, store.PatchBaseline, error) {
	if r.predefined != nil {
		return &r.predefined.Baseline, store.PatchBaseline{ID: r.id, Name: r.predefined.Name, OperatingSystem: string(r.predefined.OperatingSystem), CreatedAt: shipped, ModifiedAt: shipped}, nil
	}
	row, err := tx.Baseline(sc, r.id)
	return decoded(row, err, missing)
}

// loadInUse is load for a transaction that makes something refer to the baseline: it cannot be deleted meanwhile.
func loadInUse(tx *store.Tx, sc store.Scope, r ref, missing string) (*baseline.Baseline, store.PatchBaseline, error) {
	if r.predefined != nil {
		return load(tx, sc, r, missing)
	}
	row, err := tx.LockBaseline(sc, r.id)
	return decoded(row, err, missing)
}

func decoded(row store.PatchBaseline, err error, missing string) (*baseline.Baseline, store.PatchBaseline, error) {
	if errors.Is(err, store.ErrNotFound) {
		return nil, row, ssm.DoesNotExistException("%s", missing)
	}
	if err != nil {
		return nil, row, err
	}
	b, err := decode(row)
	return b, row, err
}

// shipped is the creation date of the predefined baselines.
var shipped = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

func decode(row store.PatchBaseline) (*baseline.Baseline, error) {
	var b baseline.Baseline
	if err := json.Unmarshal([]byte(row.Body), &b); err != nil {
		return nil, err
	}
	b.BaselineID = row.ID
	return &b, nil
}

func invalidContent(err error) error {
	if v, ok := errors.AsType[*baseline.ValidationError](err); ok {
		return awserr.Validation("%s", v.Message)
	}
	return err
}

// seenProducts are the products of the catalogue: a baseline may name them though no list has them.
func seenProducts(tx *store.Tx, sc store.Scope, os string) ([]string, error) {
	return tx.AvailableProducts(sc, os)
}

// CreatePatchBaseline makes a custom baseline. The same ClientToken with the same request answers the first
// result again.
func (s *Service) CreatePatchBaseline(ctx context.Context, in *ssm.CreatePatchBaselineInput) (*ssm.CreatePatchBaselineOutput, error) {
	sc := store.ScopeOf(ctx)
	if strings.HasPrefix(codec.Value(in.Name), "AWS-") {
		return nil, awserr.Validation("Names that start with AWS- are reserved for predefined baselines.")
	}
	if err := tag.Check(in.Tags); err != nil {
		return nil, err
	}
	b, err := fromCreate(in)
	if err != nil {
		return nil, err
	}
	id, err := arn.NewBaselineID(s.random)
	if err != nil {
		return nil, err
	}
	keyed := *in
	keyed.ClientToken = nil
	made, err := s.store.UpdateOnce(ctx, sc, "CreatePatchBaseline", codec.Value(in.ClientToken), store.Hash(codec.Marshal(&keyed)), id, func(tx *store.Tx) error {
		seen, err := seenProducts(tx, sc, string(b.OperatingSystem))
		if err != nil {
			return err
		}
		if err := b.Validate(seen...); err != nil {
			return invalidContent(err)
		}
		if n, err := tx.BaselineCount(sc); err != nil {
			return err
		} else if n >= maxBaselines {
			return ssm.ResourceLimitExceededException("There are %d patch baselines already; at most %d are allowed.", n, maxBaselines)
		}
		return s.insert(tx, sc, id, b, in.Tags)
	})
	if errors.Is(err, store.ErrTokenMismatch) {
		err = ssm.IdempotentParameterMismatch("The client token was used before with another request.")
	}
	if err != nil {
		return nil, err
	}
	return &ssm.CreatePatchBaselineOutput{BaselineId: &made}, nil
}

func (s *Service) insert(tx *store.Tx, sc store.Scope, id string, b *baseline.Baseline, tags []ssm.Tag) error {
	body, err := json.Marshal(b)
	if err != nil {
		return err
	}
	row := store.PatchBaseline{ID: id, Name: b.Name, OperatingSystem: string(b.OperatingSystem), Body: string(body), CreatedAt: tx.Now(), ModifiedAt: tx.Now()}
	if err := tx.InsertBaseline(sc, row); err != nil {
		return err
	}
	for _, t := range tags {
		if err := tx.PutTag(sc, resourceType, id, store.Tag{Key: codec.Value(t.Key), Value: codec.Value(t.Value)}); err != nil {
			return err
		}
	}
	return nil
}

// GetPatchBaseline answers a baseline whole.
func (s *Service) GetPatchBaseline(ctx context.Context, in *ssm.GetPatchBaselineInput) (*ssm.GetPatchBaselineOutput, error) {
	sc := store.ScopeOf(ctx)
	r, err := named(sc, codec.Value(in.BaselineId))
	if err != nil {
		return nil, err
	}
	var out *ssm.GetPatchBaselineOutput
	err = s.store.View(ctx, func(tx *store.Tx) error {
		b, row, err := load(tx, sc, r, msgGone)
		if err != nil {
			return err
		}
		out = toWire(b)
		out.BaselineId = new(wireID(sc, r.id))
		out.CreatedDate, out.ModifiedDate = codec.NewTime(row.CreatedAt), codec.NewTime(row.ModifiedAt)
		groups, err := tx.PatchGroupsOf(sc, r.id)
		if len(groups) > 0 {
			out.PatchGroups = groups
		} else {
			out.PatchGroups = []string{}
		}
		return err
	})
	return out, err
}

// refusePredefined is the answer to changing what every installation has.
func refusePredefined() error {
	return ssm.InvalidResourceId("Predefined patch baselines cannot be changed.")
}

// UpdatePatchBaseline changes a custom baseline: absent members stay, or go back to their defaults with Replace.
func (s *Service) UpdatePatchBaseline(ctx context.Context, in *ssm.UpdatePatchBaselineInput) (*ssm.UpdatePatchBaselineOutput, error) {
	sc := store.ScopeOf(ctx)
	r, err := named(sc, codec.Value(in.BaselineId))
	if err != nil {
		return nil, err
	}
	if r.predefined != nil {
		return nil, refusePredefined()
	}
	if codec.Value(in.Replace) && in.Name == nil {
		return nil, awserr.Validation("1 validation error detected: Value null at 'name' failed to satisfy constraint: Member must not be null")
	}
	if strings.HasPrefix(codec.Value(in.Name), "AWS-") {
		return nil, awserr.Validation("Names that start with AWS- are reserved for predefined baselines.")
	}
	var out *ssm.UpdatePatchBaselineOutput
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		row, err := tx.LockBaseline(sc, r.id)
		if errors.Is(err, store.ErrNotFound) {
			return ssm.DoesNotExistException("%s", msgGone)
		}
		if err != nil {
			return err
		}
		old, err := decode(row)
		if err != nil {
			return err
		}
		b, err := fromUpdate(in, old)
		if err != nil {
			return err
		}
		seen, err := seenProducts(tx, sc, row.OperatingSystem)
		if err != nil {
			return err
		}
		if err := b.Validate(append(seen, productsOf(old)...)...); err != nil {
			return invalidContent(err)
		}
		body, err := json.Marshal(b)
		if err != nil {
			return err
		}
		row.Name, row.Body, row.ModifiedAt = b.Name, string(body), tx.Now()
		if err := tx.UpdateBaseline(sc, row); err != nil {
			return err
		}
		out = toUpdateWire(toWire(b), row)
		return nil
	})
	return out, err
}

// productsOf are the products that a stored baseline names: what is stored stays valid when a list shrinks.
func productsOf(b *baseline.Baseline) (out []string) {
	groups := []baseline.FilterGroup{b.GlobalFilters}
	for _, r := range b.ApprovalRules.PatchRules {
		groups = append(groups, r.PatchFilterGroup)
	}
	for _, g := range groups {
		for _, f := range g.PatchFilters {
			if f.Key == "PRODUCT" {
				out = append(out, f.Values...)
			}
		}
	}
	return out
}

// DeletePatchBaseline removes a custom baseline that nothing uses. An id that does not exist is answered with
// success, so that the call can be repeated.
func (s *Service) DeletePatchBaseline(ctx context.Context, in *ssm.DeletePatchBaselineInput) (*ssm.DeletePatchBaselineOutput, error) {
	sc := store.ScopeOf(ctx)
	r, err := named(sc, codec.Value(in.BaselineId))
	if err != nil {
		return nil, err
	}
	if r.predefined != nil {
		return nil, refusePredefined()
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.LockBaseline(sc, r.id); errors.Is(err, store.ErrNotFound) {
			return nil
		} else if err != nil {
			return err
		}
		groups, err := tx.PatchGroupsOf(sc, r.id)
		if err != nil {
			return err
		}
		if len(groups) > 0 {
			return ssm.ResourceInUseException("PatchBaseline to be deleted is used for Patch Group: %s", groups[0])
		}
		defaults, err := tx.DefaultBaselines(sc)
		if err != nil {
			return err
		}
		if slices.Contains(defaults, r.id) {
			return ssm.ResourceInUseException("PatchBaseline to be deleted is the default patch baseline of its operating system")
		}
		if err := tx.DeleteTags(sc, resourceType, r.id); err != nil {
			return err
		}
		return tx.DeleteBaseline(sc, r.id)
	})
	if err != nil {
		return nil, err
	}
	return &ssm.DeletePatchBaselineOutput{BaselineId: &r.id}, nil
}

// identity is a baseline in a list.
func identity(sc store.Scope, b *baseline.Baseline, isDefault bool) ssm.PatchBaselineIdentity {
	w := ssm.PatchBaselineIdentity{
		BaselineId: new(wireID(sc, b.BaselineID)), BaselineName: &b.Name, OperatingSystem: new(string(b.OperatingSystem)), DefaultBaseline: &isDefault,
	}
	if b.Description != "" {
		w.BaselineDescription = &b.Description
	}
	return w
}

// DescribePatchBaselines lists baselines: predefined ones first, then custom ones by creation.
func (s *Service) DescribePatchBaselines(ctx context.Context, in *ssm.DescribePatchBaselinesInput) (*ssm.DescribePatchBaselinesOutput, error) {
	pg, err := s.pages.Open(ctx, "DescribePatchBaselines", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	takes, err := baselineFilter(in.Filters)
	if err != nil {
		return nil, err
	}
	sc := store.ScopeOf(ctx)
	out := &ssm.DescribePatchBaselinesOutput{BaselineIdentities: []ssm.PatchBaselineIdentity{}}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		defaults, err := tx.DefaultBaselines(sc)
		if err != nil {
			return err
		}
		replaced, err := replacedDefaults(tx, sc, defaults)
		if err != nil {
			return err
		}
		// The key is (0, position) among the predefined ones, then (creation, id).
		position, _ := strconv.Atoi(pg.At(1))
		if pg.At(0) != "0" && pg.Key != nil {
			position = len(baseline.PredefinedBaselines())
		}
		for i, p := range baseline.PredefinedBaselines() {
			if i < position || !takes("AWS", &p.Baseline) {
				continue
			}
			if len(out.BaselineIdentities) == pg.Size {
				out.NextToken = pg.Next("0", strconv.Itoa(i))
				return nil
			}
			out.BaselineIdentities = append(out.BaselineIdentities, identity(sc, &p.Baseline, p.Default && !replaced[p.OperatingSystem] || slices.Contains(defaults, p.BaselineID)))
		}
		created, id := time.Time{}, ""
		if us, err := strconv.ParseInt(pg.At(0), 10, 64); err == nil && us > 0 {
			created, id = time.UnixMicro(us), pg.At(1)
		}
		for {
			rows, err := tx.Baselines(sc, created, id, 200)
			if err != nil || len(rows) == 0 {
				return err
			}
			for _, row := range rows {
				b, err := decode(row)
				if err != nil {
					return err
				}
				if takes("Self", b) {
					if len(out.BaselineIdentities) == pg.Size {
						out.NextToken = s.customKey(pg, created, id)
						return nil
					}
					out.BaselineIdentities = append(out.BaselineIdentities, identity(sc, b, slices.Contains(defaults, b.BaselineID)))
				}
				created, id = row.CreatedAt, row.ID
			}
		}
	})
	return out, err
}

// customKey is the token of a page that ended after the custom baseline given, or before the first one.
func (s *Service) customKey(pg *page.Page, created time.Time, id string) *string {
	if created.IsZero() {
		return pg.Next("0", strconv.Itoa(len(baseline.PredefinedBaselines())))
	}
	return pg.Next(strconv.FormatInt(created.UnixMicro(), 10), id)
}

// replacedDefaults tells the operating systems whose predefined default a registered one stands in for.
func replacedDefaults(tx *store.Tx, sc store.Scope, defaults []string) (map[baseline.OS]bool, error) {
	out := map[baseline.OS]bool{}
	for _, id := range defaults {
		b, _, err := load(tx, sc, ref{id: id}, msgGone)
		if p, ok := baseline.FindPredefined(id); ok {
			b, err = &p.Baseline, nil
		}
		if err != nil {
			return nil, err
		}
		out[b.OperatingSystem] = true
	}
	return out, nil
}

func baselineFilter(in []ssm.PatchOrchestratorFilter) (func(owner string, b *baseline.Baseline) bool, error) {
	for _, f := range in {
		switch codec.Value(f.Key) {
		case "NAME_PREFIX":
		case "OWNER":
			for _, v := range f.Values {
				if v != "AWS" && v != "Self" && v != "All" {
					return nil, awserr.Validation("Invalid Filter Value: %s for Key: OWNER, valid values are: AWS, Self, All", v)
				}
			}
		case "OPERATING_SYSTEM":
			for _, v := range f.Values {
				if !baseline.OS(v).Valid() {
					return nil, awserr.Validation("Invalid Filter Value: %s for Key: OPERATING_SYSTEM", v)
				}
			}
		default:
			return nil, awserr.Validation("Invalid Filter Key: %s, valid keys are: NAME_PREFIX, OWNER, OPERATING_SYSTEM", codec.Value(f.Key))
		}
	}
	return func(owner string, b *baseline.Baseline) bool {
		for _, f := range in {
			ok := slices.ContainsFunc(f.Values, func(v string) bool {
				switch *f.Key {
				case "NAME_PREFIX":
					return strings.HasPrefix(b.Name, v)
				case "OWNER":
					return v == owner || v == "All"
				}
				return v == string(b.OperatingSystem)
			})
			if !ok {
				return false
			}
		}
		return true
	}, nil
}
