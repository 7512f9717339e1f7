package ssmdocument

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"oakum.dev/awserr"
	"oakum.dev/document"
	"oakum.dev/internal/store"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// batch is how many rows of each source a listing reads at once.
const batch = 200

// entry is a document in a list.
type entry struct {
	name, owner string // its key; name is without an ARN
	classes     []string
	stranger    bool // another account's, shared with all
	description string
	wire        ssm.DocumentIdentifier
}

func (e entry) compare(name, owner string) int {
	return cmp.Or(cmp.Compare(e.name, name), cmp.Compare(e.owner, owner))
}

// condition is one filter: its values are alternatives.
type condition struct {
	key    string
	values []string
}

// listing is one call of ListDocuments.
type listing struct {
	tx         *store.Tx
	sc         store.Scope
	conditions []condition
	tagged     map[string]map[string]bool // by filter key, the documents that it takes
}

// ListDocuments lists documents by name: Amazon's, the account's own, and those of other accounts that are shared with
// it. Documents that strangers share with everybody are listed only when Owner asks for them.
func (s *Service) ListDocuments(ctx context.Context, in *ssm.ListDocumentsInput) (*ssm.ListDocumentsOutput, error) {
	pg, err := s.pages.Open(ctx, "ListDocuments", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	conditions, err := filters(in)
	if err != nil {
		return nil, err
	}
	out := &ssm.ListDocumentsOutput{DocumentIdentifiers: []ssm.DocumentIdentifier{}}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		out.DocumentIdentifiers, out.NextToken = out.DocumentIdentifiers[:0], nil
		l := &listing{tx: tx, sc: store.ScopeOf(ctx), conditions: conditions}
		if err := l.readTags(); err != nil {
			return err
		}
		name, owner := pg.At(0), pg.At(1)
		for {
			entries, more, err := l.after(name, owner)
			if err != nil {
				return err
			}
			for _, e := range entries {
				ok, err := l.takes(e)
				if err != nil {
					return err
				}
				if ok && len(out.DocumentIdentifiers) == pg.Size {
					out.NextToken = pg.Next(name, owner)
					return nil
				}
				if ok {
					if e.wire.Tags, err = l.tags(e); err != nil {
						return err
					}
					out.DocumentIdentifiers = append(out.DocumentIdentifiers, e.wire)
				}
				name, owner = e.name, e.owner
			}
			if !more {
				return nil
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func filters(in *ssm.ListDocumentsInput) (out []condition, err error) {
	if len(in.Filters) > 0 && len(in.DocumentFilterList) > 0 {
		return nil, awserr.Validation("Filters and DocumentFilterList cannot be given together.")
	}
	for _, f := range in.Filters {
		out = append(out, condition{codec.Value(f.Key), f.Values})
	}
	for _, f := range in.DocumentFilterList {
		out = append(out, condition{codec.Value(f.Key), []string{codec.Value(f.Value)}})
	}
	keys := []string{"Name", "Owner", "PlatformTypes", "DocumentType", "TargetType", "SearchKeyword"}
	for i, c := range out {
		k := slices.IndexFunc(keys, func(k string) bool { return strings.EqualFold(k, c.key) })
		switch {
		case k >= 0:
			out[i].key = keys[k]
		case strings.HasPrefix(c.key, "tag:") && len(c.key) > len("tag:"):
		default:
			return nil, ssm.InvalidFilterKey("The specified key isn't valid: %s", c.key)
		}
	}
	return out, nil
}

// readTags finds the documents that filters on tags take.
func (l *listing) readTags() error {
	l.tagged = map[string]map[string]bool{}
	for _, c := range l.conditions {
		key, ok := strings.CutPrefix(c.key, "tag:")
		if !ok {
			continue
		}
		names, err := l.tx.TaggedKey(l.sc, resourceType, key)
		if len(c.values) > 0 {
			names, err = l.tx.TaggedWith(l.sc, resourceType, key, c.values)
		}
		if err != nil {
			return err
		}
		set := map[string]bool{}
		for _, n := range names {
			set[n] = true
		}
		l.tagged[c.key] = set
	}
	return nil
}

// after returns the next documents in the order of name and owner. more says that there are further ones.
func (l *listing) after(name, owner string) (out []entry, more bool, err error) {
	for _, d := range document.Builtins() {
		out = append(out, builtinEntry(&d))
	}
	mine, err := l.tx.Documents(l.sc, name, batch)
	if err != nil {
		return nil, false, err
	}
	// What lies behind the end of a batch that may go on is left for the next round.
	var ends []entry
	add := func(rows []store.ListedDocument, entryOf func(store.ListedDocument) entry) {
		for _, r := range rows {
			out = append(out, entryOf(r))
		}
		if len(rows) == batch {
			ends = append(ends, out[len(out)-1])
		}
	}
	add(mine, l.ownEntry)
	for _, with := range []string{l.sc.Account, everybody} {
		rows, err := l.tx.SharedDocuments(l.sc.Region, with, name, owner, batch)
		if err != nil {
			return nil, false, err
		}
		add(rows, func(r store.ListedDocument) entry { return l.sharedEntry(r, with) })
	}
	slices.SortStableFunc(out, func(a, b entry) int { return a.compare(b.name, b.owner) })
	// Stable: of a document that is shared with the account and with all, the first entry stays; and one's own is not shared.
	out = slices.CompactFunc(out, func(a, b entry) bool { return a.compare(b.name, b.owner) == 0 })
	out = slices.DeleteFunc(out, func(e entry) bool {
		return e.compare(name, owner) <= 0 || slices.ContainsFunc(ends, func(end entry) bool { return e.compare(end.name, end.owner) > 0 })
	})
	return out, len(ends) > 0, nil
}

func builtinEntry(d *document.Builtin) entry {
	return entry{
		name: d.Name, owner: amazon, classes: []string{amazon, "Public", "All"}, description: d.Description,
		wire: ssm.DocumentIdentifier{
			Name: &d.Name, Owner: new(amazon), PlatformTypes: platformNames(d.Platforms), DocumentVersion: new(builtinVersion), DocumentType: new(string(document.Command)),
			SchemaVersion: &d.SchemaVersion, DocumentFormat: new(string(document.JSON)),
		},
	}
}

func (l *listing) ownEntry(d store.ListedDocument) entry {
	r := ref{sc: store.Scope{Account: d.Account, Region: d.Region}, name: d.Name, foreign: d.Account != l.sc.Account}
	v := d.DocumentVersion
	return entry{
		name: d.Name, owner: d.Account, classes: []string{d.Account, "Self", "All"}, description: v.Description,
		wire: ssm.DocumentIdentifier{
			Name: new(r.wireName()), CreatedDate: codec.NewTime(v.CreatedAt), DisplayName: optional(v.DisplayName), Owner: &d.Account, VersionName: optional(v.VersionName),
			PlatformTypes: stringList(v.Platforms), DocumentVersion: number(v.Version), DocumentType: &d.Type, SchemaVersion: optional(v.SchemaVersion),
			DocumentFormat: &v.Format, TargetType: optional(v.TargetType), Requires: requires(v), Author: optional(v.Author),
		},
	}
}

func (l *listing) sharedEntry(d store.ListedDocument, with string) entry {
	e := l.ownEntry(d)
	if with == everybody {
		e.classes, e.stranger = []string{d.Account, "Public", "All"}, true
		return e
	}
	e.classes = []string{d.Account, "Private", "All"}
	return e
}

// takes reports whether a document passes all filters.
func (l *listing) takes(e entry) (bool, error) {
	byOwner := false
	for _, c := range l.conditions {
		some := func(match func(v string) bool) bool { return slices.ContainsFunc(c.values, match) }
		ok := true
		switch c.key {
		case "Name":
			ok = some(func(v string) bool { return strings.HasPrefix(e.name, v) })
		case "Owner":
			byOwner = true
			classes, err := l.classes(e, c.values)
			if err != nil {
				return false, err
			}
			ok = some(func(v string) bool { return slices.Contains(classes, v) })
		case "PlatformTypes":
			ok = some(func(v string) bool { return slices.Contains(e.wire.PlatformTypes, v) })
		case "DocumentType":
			ok = some(func(v string) bool { return v == codec.Value(e.wire.DocumentType) })
		case "TargetType":
			ok = some(func(v string) bool { return v == codec.Value(e.wire.TargetType) })
		case "SearchKeyword":
			text := strings.ToLower(e.name + " " + codec.Value(e.wire.DisplayName) + " " + e.description)
			ok = some(func(v string) bool { return strings.Contains(text, strings.ToLower(v)) })
		default: // tags are the owner's
			ok = e.owner == l.sc.Account && l.tagged[c.key][e.name]
		}
		if !ok {
			return false, nil
		}
	}
	return byOwner || !e.stranger, nil
}

// classes are the values of the filter Owner that a document has: an own one is Public when it is shared with all.
func (l *listing) classes(e entry, asked []string) ([]string, error) {
	if e.owner != l.sc.Account || !slices.Contains(asked, "Public") && !slices.Contains(asked, "Private") {
		return e.classes, nil
	}
	_, err := l.tx.DocumentShare(l.sc, e.name, everybody)
	switch {
	case err == nil:
		return append(slices.Clone(e.classes), "Public"), nil
	case errors.Is(err, store.ErrNotFound):
		return append(slices.Clone(e.classes), "Private"), nil
	}
	return nil, err
}

func (l *listing) tags(e entry) ([]ssm.Tag, error) {
	if e.owner != l.sc.Account {
		return []ssm.Tag{}, nil
	}
	rows, err := l.tx.Tags(l.sc, resourceType, e.name)
	return wireTags(rows), err
}
