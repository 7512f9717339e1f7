package ssmdocument_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/awserr"
	"oakum.dev/document"
	"oakum.dev/iam"
	"oakum.dev/internal/oakumtest"
	"oakum.dev/internal/page"
	"oakum.dev/internal/ssmdocument"
	"oakum.dev/internal/store"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

func TestMain(m *testing.M) { oakumtest.Main(m) }

const region = "us-east-1"

// engines runs a test on a service over a new database of each engine.
func engines(t *testing.T, fn func(t *testing.T, st *store.Store, s *ssmdocument.Service)) {
	for engine, config := range map[string]func() store.Config{
		"sqlite":   func() store.Config { return store.Config{Path: filepath.Join(t.TempDir(), "oakum.db")} },
		"postgres": func() store.Config { return store.Config{URL: oakumtest.Postgres(t)} },
	} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			c := config()
			c.Now = time.Now
			st, err := store.Open(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := st.Close(); err != nil {
					t.Error(err)
				}
			})
			fn(t, st, ssmdocument.New(st, page.Book{Pager: &codec.Pager{Key: []byte("0123456789abcdef0123456789abcdef")}}))
		})
	}
}

// as is the context of a call by an account's administrator.
func as(t *testing.T, account, region string) context.Context {
	return iam.WithPrincipal(t.Context(), iam.Principal{Kind: iam.Administrator, Account: account, Region: region, ARN: "arn:aws:iam::" + account + ":user/admin"})
}

func text(says string) *string {
	return new(`{"schemaVersion":"2.2","mainSteps":[{"action":"aws:runShellScript","name":"a","inputs":{"runCommand":["echo ` + says + `"]}}]}`)
}

func try(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// code is the code of an error, "" for none.
func code(err error) string {
	if err == nil {
		return ""
	}
	return awserr.From(err).Code
}

const (
	owner  = "000000000001"
	friend = "000000000002"
	other  = "000000000003"
)

// Another account of the server uses a document by its ARN as far as it is shared with it, and not otherwise.
func TestSharedDocuments(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, st *store.Store, s *ssmdocument.Service) {
		mine := as(t, owner, region)
		const arn = "arn:aws:ssm:" + region + ":" + owner + ":document/Tool"
		_, err := s.CreateDocument(mine, &ssm.CreateDocumentInput{Name: new("Tool"), Content: text("1"), Tags: []ssm.Tag{{Key: new("a"), Value: new("b")}}})
		try(t, err)
		for i := range 2 {
			_, err := s.UpdateDocument(mine, &ssm.UpdateDocumentInput{Name: new("Tool"), Content: text(fmt.Sprint(i + 2))})
			try(t, err)
		}
		_, err = s.UpdateDocumentDefaultVersion(mine, &ssm.UpdateDocumentDefaultVersionInput{Name: new("Tool"), DocumentVersion: new("2")})
		try(t, err)
		share := func(with, version string) {
			t.Helper()
			_, err := s.ModifyDocumentPermission(mine, &ssm.ModifyDocumentPermissionInput{Name: new("Tool"), AccountIdsToAdd: []string{with}, SharedDocumentVersion: &version})
			try(t, err)
		}
		unshare := func(with string) {
			t.Helper()
			_, err := s.ModifyDocumentPermission(mine, &ssm.ModifyDocumentPermissionInput{Name: new("Tool"), AccountIdsToRemove: []string{with}})
			try(t, err)
		}
		// seen is what an account gets for a version: its number or the code of the refusal.
		seen := func(account, region, version string) string {
			var v document.Version
			err := st.View(t.Context(), func(tx *store.Tx) (err error) {
				v, err = s.Find(as(t, account, region), tx, arn, version)
				return err
			})
			if c := code(err); c != "" {
				return c
			}
			if v.Name != arn && account != owner || v.Owner != owner || v.Kind != document.Command || len(v.Steps) != 1 {
				t.Errorf("Find by %s = %+v", account, v)
			}
			return v.Number
		}
		const gone, not = "InvalidDocument", "InvalidDocumentVersion"
		for _, tc := range []struct {
			name   string
			set    func()
			friend []string // for "", $LATEST, 1, 2, 3
			other  []string
		}{
			{"not_shared", func() {}, []string{gone, gone, gone, gone, gone}, []string{gone, gone, gone, gone, gone}},
			{"default", func() { share(friend, "") }, []string{"2", not, not, "2", not}, []string{gone, gone, gone, gone, gone}},
			{"latest", func() { share(friend, "$LATEST") }, []string{not, "3", not, not, "3"}, []string{gone, gone, gone, gone, gone}},
			{"all_versions", func() { share(friend, "$ALL") }, []string{"2", "3", "1", "2", "3"}, []string{gone, gone, gone, gone, gone}},
			{"everybody", func() { unshare(friend); share("All", "") }, []string{"2", not, not, "2", not}, []string{"2", not, not, "2", not}},
			{"no_more", func() { unshare("ALL") }, []string{gone, gone, gone, gone, gone}, []string{gone, gone, gone, gone, gone}},
		} {
			tc.set()
			for i, version := range []string{"", "$LATEST", "1", "2", "3"} {
				if got := seen(friend, region, version); got != tc.friend[i] {
					t.Errorf("%s: version %q for the friend: %s, want %s", tc.name, version, got, tc.friend[i])
				}
				if got := seen(other, region, version); got != tc.other[i] {
					t.Errorf("%s: version %q for another: %s, want %s", tc.name, version, got, tc.other[i])
				}
			}
			if got := seen(friend, "eu-west-1", ""); got != gone {
				t.Errorf("%s: in another region: %s", tc.name, got)
			}
			if got := seen(owner, region, "$LATEST"); got != "3" {
				t.Errorf("%s: the owner by ARN: %s", tc.name, got)
			}
		}

		// What a shared document looks like to whom it is shared with.
		share(friend, "$ALL")
		theirs := as(t, friend, region)
		d, err := s.DescribeDocument(theirs, &ssm.DescribeDocumentInput{Name: new(arn)})
		try(t, err)
		if *d.Document.Name != arn || *d.Document.Owner != owner || len(d.Document.Tags) != 0 {
			t.Errorf("DescribeDocument = %+v", d.Document)
		}
		g, err := s.GetDocument(theirs, &ssm.GetDocumentInput{Name: new(arn), DocumentVersion: new("1")})
		try(t, err)
		if *g.Content != *text("1") || *g.Name != arn {
			t.Errorf("GetDocument = %s %s", *g.Name, *g.Content)
		}
		versions, err := s.ListDocumentVersions(theirs, &ssm.ListDocumentVersionsInput{Name: new(arn)})
		try(t, err)
		if len(versions.DocumentVersions) != 3 {
			t.Errorf("%d versions are shared, want 3", len(versions.DocumentVersions))
		}
		// Its owner alone changes it: the names of these operations are without an ARN, so another account's is its own.
		_, err = s.CreateDocument(theirs, &ssm.CreateDocumentInput{Name: new("Tool"), Content: text("theirs")})
		try(t, err)
		list := func(ctx context.Context, owners ...string) (out []string) {
			t.Helper()
			in := &ssm.ListDocumentsInput{Filters: []ssm.DocumentKeyValuesFilter{{Key: new("Name"), Values: []string{"Tool"}}}, MaxResults: new(int64(1))}
			if len(owners) > 0 {
				in.Filters = append(in.Filters, ssm.DocumentKeyValuesFilter{Key: new("Owner"), Values: owners})
			}
			for {
				page, err := s.ListDocuments(ctx, in)
				try(t, err)
				for _, d := range page.DocumentIdentifiers {
					out = append(out, *d.Owner+" "+*d.Name+" "+*d.DocumentVersion)
				}
				if in.NextToken = page.NextToken; in.NextToken == nil {
					return out
				}
			}
		}
		shared, own := owner+" "+arn+" 2", friend+" Tool 1"
		for _, tc := range []struct {
			owners []string
			want   []string
		}{
			{nil, []string{shared, own}},
			{[]string{"Self"}, []string{own}},
			{[]string{"Private"}, []string{shared, own}},
			{[]string{"All"}, []string{shared, own}},
			{[]string{owner}, []string{shared}},
			{[]string{"Public"}, nil},
		} {
			if d := cmp.Diff(tc.want, list(theirs, tc.owners...)); d != "" {
				t.Errorf("ListDocuments with Owner %v (-want +got):\n%s", tc.owners, d)
			}
		}
		unshare(friend)
		share("all", "$LATEST")
		for _, tc := range []struct {
			owners []string
			want   []string
		}{
			{nil, nil},
			{[]string{"Public"}, []string{owner + " " + arn + " 3"}},
			{[]string{owner, "Self"}, []string{owner + " " + arn + " 3"}},
		} {
			if d := cmp.Diff(tc.want, list(as(t, other, region), tc.owners...)); d != "" {
				t.Errorf("public documents with Owner %v (-want +got):\n%s", tc.owners, d)
			}
		}
		if got := list(mine, "Public"); !slices.Equal(got, []string{owner + " Tool 2"}) {
			t.Errorf("the owner's public documents: %v", got)
		}
	})
}

// A listing that needs several batches of rows is whole and in order, with documents of all sources.
func TestListOfManyDocuments(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, st *store.Store, s *ssmdocument.Service) {
		var want []string
		for i := range 450 {
			account, name := owner, fmt.Sprintf("D%04d", i%300)
			if i >= 300 {
				account, name = friend, fmt.Sprintf("D%04d", 2*(i-300))
			}
			sc := store.Scope{Account: account, Region: region}
			try(t, st.Update(t.Context(), func(tx *store.Tx) error {
				hash, err := tx.PutContent(account, []byte(*text("x")))
				return errors.Join(err,
					tx.InsertDocument(store.Document{Account: account, Region: region, Name: name, Type: "Command", DefaultVersion: 1, LatestVersion: 1, LastVersion: 1}),
					tx.InsertDocumentVersion(store.DocumentVersion{Account: account, Region: region, Name: name, Version: 1, Format: "JSON", ContentHash: hash, Platforms: "[]", Requires: "[]"}),
					tx.PutDocumentShare(store.DocumentShare{Account: sc.Account, Region: sc.Region, Name: name, With: owner, Version: "$DEFAULT"}))
			}))
			if account == owner {
				want = append(want, name+" "+owner)
			} else {
				want = append(want, name+" "+friend)
			}
		}
		slices.Sort(want)
		var got []string
		in := &ssm.ListDocumentsInput{MaxResults: new(int64(50)), Filters: []ssm.DocumentKeyValuesFilter{{Key: new("Name"), Values: []string{"D"}}}}
		for {
			page, err := s.ListDocuments(as(t, owner, region), in)
			try(t, err)
			for _, d := range page.DocumentIdentifiers {
				name := *d.Name
				if len(name) > 5 {
					name = name[len(name)-5:]
				}
				got = append(got, name+" "+*d.Owner)
			}
			if in.NextToken = page.NextToken; in.NextToken == nil {
				break
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("ListDocuments (-want +got):\n%.2000s", d)
		}
	})
}

// The quotas of versions, documents and shares.
func TestQuotas(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, st *store.Store, s *ssmdocument.Service) {
		ctx, sc := as(t, owner, region), store.Scope{Account: owner, Region: region}
		_, err := s.CreateDocument(ctx, &ssm.CreateDocumentInput{Name: new("Long"), Content: text("1")})
		try(t, err)
		try(t, st.Update(ctx, func(tx *store.Tx) error {
			for n := int64(2); n <= 1000; n++ {
				v := store.DocumentVersion{Account: owner, Region: region, Name: "Long", Version: n, Format: "JSON", Platforms: "[]", Requires: "[]"}
				if err := tx.InsertDocumentVersion(v); err != nil {
					return err
				}
			}
			return tx.SaveDocument(store.Document{Account: owner, Region: region, Name: "Long", DefaultVersion: 1, LatestVersion: 1000, LastVersion: 1000})
		}))
		update := &ssm.UpdateDocumentInput{Name: new("Long"), Content: text("2")}
		if _, err := s.UpdateDocument(ctx, update); code(err) != "DocumentVersionLimitExceeded" {
			t.Errorf("version 1001 = %v", err)
		}
		_, err = s.DeleteDocument(ctx, &ssm.DeleteDocumentInput{Name: new("Long"), DocumentVersion: new("500")})
		try(t, err)
		if out, err := s.UpdateDocument(ctx, update); err != nil || *out.DocumentDescription.DocumentVersion != "1001" {
			t.Errorf("after a version was deleted: %+v, %v", out, err)
		}

		for k := range 51 {
			in := &ssm.ModifyDocumentPermissionInput{Name: new("Long")}
			for i := range 20 {
				in.AccountIdsToAdd = append(in.AccountIdsToAdd, fmt.Sprintf("%012d", 100+20*k+i))
			}
			_, err := s.ModifyDocumentPermission(ctx, in)
			if want := map[bool]string{true: "DocumentPermissionLimit"}[k == 50]; code(err) != want {
				t.Fatalf("sharing with %d accounts = %v, want %q", 20*(k+1), err, want)
			}
		}

		for i := range 499 {
			try(t, st.Update(ctx, func(tx *store.Tx) error {
				name := fmt.Sprintf("Doc%d", i)
				hash, err := tx.PutContent(owner, []byte(*text("1")))
				return errors.Join(err, tx.InsertDocument(store.Document{Account: owner, Region: region, Name: name, Type: "Command", DefaultVersion: 1, LatestVersion: 1, LastVersion: 1}),
					tx.InsertDocumentVersion(store.DocumentVersion{Account: owner, Region: region, Name: name, Version: 1, Format: "JSON", Platforms: "[]", Requires: "[]", ContentHash: hash}))
			}))
		}
		if _, err := s.CreateDocument(ctx, &ssm.CreateDocumentInput{Name: new("One-more"), Content: text("1")}); code(err) != "DocumentLimitExceeded" {
			t.Errorf("document 501 = %v", err)
		}
		if n, err := documents(st, sc); err != nil || n != 500 {
			t.Errorf("%d documents, %v", n, err)
		}
		for i := range 6 {
			_, err := s.ModifyDocumentPermission(ctx, &ssm.ModifyDocumentPermissionInput{Name: new(fmt.Sprintf("Doc%d", i)), AccountIdsToAdd: []string{"all"}})
			if want := map[bool]string{true: "DocumentPermissionLimit"}[i == 5]; code(err) != want {
				t.Errorf("%d public documents = %v, want %q", i+1, err, want)
			}
		}
	})
}

func documents(st *store.Store, sc store.Scope) (n int64, err error) {
	err = st.View(context.Background(), func(tx *store.Tx) error {
		n, err = tx.DocumentCount(sc)
		return err
	})
	return n, err
}
