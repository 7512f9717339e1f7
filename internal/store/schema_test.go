package store

import (
	"bytes"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/internal/audit"
	"oakum.dev/internal/oakumtest"
)

// A table that is not in the list would be missing from every copy.
func TestCopiesHaveEveryTable(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, s *Store, _ *clock) {
		var have []string
		view(t, s, func(tx *Tx) (err error) {
			q := `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`
			if s.d == postgres {
				q = `SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'`
			}
			have, err = column[string](tx, q)
			return err
		})
		have = slices.DeleteFunc(have, func(n string) bool { return n == "goose_db_version" })
		want := slices.Clone(tables)
		slices.Sort(have)
		slices.Sort(want)
		if d := cmp.Diff(want, have); d != "" {
			t.Errorf("tables (-in copies +in the database):\n%s", d)
		}
	})
}

var comment = regexp.MustCompile(`--.*`)

func master(t *testing.T, db *sql.DB) map[string]string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'goose%' AND name NOT LIKE 'sqlite_%'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	out := map[string]string{}
	for rows.Next() {
		var name, text string
		if err := rows.Scan(&name, &text); err != nil {
			t.Fatal(err)
		}
		out[name] = strings.Join(strings.Fields(comment.ReplaceAllString(text, "")), " ")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// The migrations lead to what schema.sql says.
func TestSchemaIsWhatMigrationsLeadTo(t *testing.T) {
	t.Parallel()
	s, _ := open(t, Config{Path: filepath.Join(t.TempDir(), "oakum.db")})
	text, err := os.ReadFile("schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "schema.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), string(text)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(master(t, db), master(t, s.read)); d != "" {
		t.Errorf("schema (-schema.sql +migrated):\n%s", d)
	}
}

// sample makes a value of a parameter's type, good enough for a statement to be reached.
func sample(typ reflect.Type, n int) reflect.Value {
	v := reflect.New(typ).Elem()
	switch {
	case typ == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Date(2026, 11, 22, 1, 0, n, 0, time.UTC)))
	case typ == reflect.TypeFor[Scope]():
		v.Set(reflect.ValueOf(testScope))
	case typ == reflect.TypeFor[*audit.Record]():
		v.Set(reflect.ValueOf(&audit.Record{EventID: fmt.Sprint("event", n), Account: testScope.Account, Region: testScope.Region, EventTime: time.Date(2026, 11, 22, 1, 0, n, 0, time.UTC)}))
	case typ.Kind() == reflect.String:
		v.SetString(fmt.Sprint("text", n))
	case typ.Kind() == reflect.Bool:
		v.SetBool(n%2 == 0)
	case typ.Kind() == reflect.Int, typ.Kind() == reflect.Int64:
		v.SetInt(int64(10 + n))
	case typ.Kind() == reflect.Slice && typ.Elem().Kind() == reflect.Uint8:
		v.SetBytes([]byte{1, 0, 255, byte(n)})
	case typ.Kind() == reflect.Slice:
		v.Set(reflect.Append(reflect.Append(v, sample(typ.Elem(), n)), sample(typ.Elem(), n+1)))
	case typ.Kind() == reflect.Struct:
		for i := range typ.NumField() {
			if typ.Field(i).IsExported() {
				v.Field(i).Set(sample(typ.Field(i).Type, n))
			}
		}
		for name, text := range map[string]string{"Account": testScope.Account, "Region": testScope.Region} {
			if f := v.FieldByName(name); f.IsValid() && f.Kind() == reflect.String {
				f.SetString(text)
			}
		}
		for _, c := range checked {
			if typ.Name() == c.typ {
				v.FieldByName(c.field).SetString(c.value)
			}
		}
	}
	return v
}

// checked are values that a CHECK names.
var checked = []struct{ typ, field, value string }{
	{"AccessKey", "Kind", "ReadOnly"},
	{"Message", "Kind", "send"},
	{"WindowPart", "Kind", WindowTask},
	{"DocumentVersion", "Format", "YAML"},
	{"DocumentShare", "Version", "$ALL"},
	{"InventoryDeletion", "Status", "InProgress"},
	{"DataSync", "Status", "Failed"},
}

// statements runs every method of a transaction and collects the SQL, which includes what comes later.
func statements(t *testing.T, s *Store) []string {
	t.Helper()
	seen := map[string]bool{}
	s.onQuery = func(q string) { seen[q] = true }
	defer func() { s.onQuery = nil }()
	typ := reflect.TypeFor[*Tx]()
	for i := range typ.NumMethod() {
		m := typ.Method(i)
		_ = s.Update(t.Context(), func(tx *Tx) error { // its outcome does not matter: it is rolled back
			args := []reflect.Value{reflect.ValueOf(tx)}
			for k := 1; k < m.Type.NumIn(); k++ {
				args = append(args, sample(m.Type.In(k), 1))
			}
			m.Func.Call(args)
			return ErrNotFound
		})
	}
	if err := s.Update(t.Context(), func(tx *Tx) error { return tx.forgetWaiting() }); err != nil {
		t.Fatal(err)
	}
	var out []string
	for q := range seen {
		out = append(out, q)
	}
	slices.Sort(out)
	return out
}

// scansAllowed are statements that may read a whole table, with the reason.
var scansAllowed = []struct{ table, part, reason string }{
	{"account", "FROM account", "one row a tenant"},
	{"access_key", "count(*)", "asked for at the first start only"},
	{"patch_baseline", "count(*)", "fifty rows a tenant"},
	{"content", "EXCEPT", "the hourly sweep of blobs"},
	{"node_state", "EXCEPT", "the hourly sweep of blobs"},
	{"scan_history", "EXCEPT", "the hourly sweep of blobs"},
	{"inventory_item", "EXCEPT", "the hourly sweep of blobs"},
	{"compliance_set", "EXCEPT", "the hourly sweep of blobs"},
	{"command", "EXCEPT", "the hourly sweep of blobs"},
	{"document_version", "EXCEPT", "the hourly sweep of blobs"},
	{"node_message", "GROUP BY node_id", "what a starting server must know; bounded by what is under way"},
	{"node_message", "DELETE FROM node_message", "a restore"},
	{"data_sync_object", "DELETE FROM data_sync_object", "a restore"},
	{"invocation", "the server was restored", "a restore"},
	{"command", "WHERE status IN", "a restore"},
	{"window_execution", "restored from a copy", "a restore"},
	{"window_task_execution", "restored from a copy", "a restore"},
	{"window_invocation", "restored from a copy", "a restore"},
	{"work_item", "ORDER BY due_at LIMIT 1", "the first entry of the index"},
}

var placeholder = regexp.MustCompile(`\$(\d+)`)

// No statement reads the whole of a table that grows.
func TestNoStatementScansAGrowingTable(t *testing.T) {
	t.Parallel()
	s, _ := open(t, Config{Path: filepath.Join(t.TempDir(), "oakum.db")})
	list := statements(t, s)
	if len(list) < 90 {
		t.Errorf("only %d statements were reached", len(list))
	}
	for _, q := range list {
		n := 0
		for _, m := range placeholder.FindAllStringSubmatch(q, -1) {
			var k int
			_, _ = fmt.Sscan(m[1], &k) // digits
			n = max(n, k)
		}
		rows, err := s.read.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+q, make([]any, n)...)
		if err != nil {
			t.Errorf("%s: %v", q, err)
			continue
		}
		for rows.Next() {
			var id, parent, unused int
			var detail string
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(detail, "USE TEMP B-TREE FOR ORDER BY") && !strings.Contains(q, "EXCEPT") && strings.Contains(q, "LIMIT") {
				t.Logf("sorts: %s\n\t%s", detail, strings.Join(strings.Fields(q), " "))
			}
			word := strings.Fields(detail)
			if word[0] != "SCAN" || len(word) < 2 || word[1] == "CONSTANT" || strings.HasPrefix(word[1], "(") {
				continue
			}
			table := word[1]
			if !slices.Contains(tables, table) { // an alias
				for _, name := range tables {
					if regexp.MustCompile(`\b` + name + ` ` + table + `\b`).MatchString(q) {
						table = name
					}
				}
			}
			if !slices.ContainsFunc(scansAllowed, func(a struct{ table, part, reason string }) bool {
				return a.table == table && strings.Contains(q, a.part)
			}) {
				t.Errorf("%s in\n\t%s", detail, strings.Join(strings.Fields(q), " "))
			}
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// fill puts rows into every table by the methods that insert.
func fill(t *testing.T, s *Store) {
	t.Helper()
	typ := reflect.TypeFor[*Tx]()
	for n := range 3 {
		for i := range typ.NumMethod() {
			m := typ.Method(i)
			if !slices.ContainsFunc([]string{"Insert", "Put", "Append", "Schedule", "Remember", "NextNumber", "SetDefaultBaseline", "PatchNum"}, func(p string) bool { return strings.HasPrefix(m.Name, p) }) {
				continue
			}
			update(t, s, func(tx *Tx) error {
				args := []reflect.Value{reflect.ValueOf(tx)}
				for k := 1; k < m.Type.NumIn(); k++ {
					args = append(args, sample(m.Type.In(k), n))
				}
				out := m.Func.Call(args)
				if err, _ := out[len(out)-1].Interface().(error); err != nil {
					return fmt.Errorf("%s: %w", m.Name, err)
				}
				return nil
			})
		}
	}
}

func dump(t *testing.T, s *Store) string {
	t.Helper()
	var b bytes.Buffer
	if err := s.Dump(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// sorted takes a copy apart: rows have no order of their own.
func sorted(text string) []string {
	lines := strings.Split(text, "\n")
	slices.Sort(lines)
	return lines
}

// A copy of either engine restores into either, with every table and value, and what waited is not sent again.
//
// proves R-36
func TestCopyRestoresIntoEitherEngine(t *testing.T) {
	t.Parallel()
	fresh := map[string]func() Config{
		"sqlite":   func() Config { return Config{Path: filepath.Join(t.TempDir(), "oakum.db")} },
		"postgres": func() Config { return Config{URL: oakumtest.Postgres(t)} },
	}
	for from := range fresh {
		for to := range fresh {
			t.Run(from+"_to_"+to, func(t *testing.T) {
				a, _ := open(t, fresh[from]())
				fill(t, a)
				text := dump(t, a)
				for _, name := range tables {
					if !strings.Contains(text, `{"table":"`+name+`","columns"`) {
						t.Errorf("the test has no row in %s", name)
					}
				}
				b, _ := open(t, fresh[to]())
				if err := b.Load(t.Context(), strings.NewReader(text)); err != nil {
					t.Fatal(err)
				}
				if err := b.Load(t.Context(), strings.NewReader(text)); err == nil {
					t.Error("a copy was read into a database that is not empty")
				}
				update(t, a, func(tx *Tx) error { return tx.forgetWaiting() })
				if d := cmp.Diff(sorted(dump(t, a)), sorted(dump(t, b))); d != "" {
					t.Errorf("rows (-original +restored):\n%.3000s", d)
				}
				c, _ := open(t, fresh[to]())
				for _, cut := range []int{len(text) / 3, len(text) / 2, strings.LastIndex(text, `{"row"`) - 1} {
					if err := c.Load(t.Context(), strings.NewReader(text[:cut])); err == nil {
						t.Errorf("a copy cut off at byte %d of %d was taken", cut, len(text))
					}
				}
				view(t, c, func(tx *Tx) error {
					list, err := tx.Accounts()
					if len(list) != 0 {
						t.Error("a broken copy left rows behind")
					}
					return err
				})
			})
		}
	}
}

// A restored command that was not sent ends, and so does the whole command.
func TestRestoredCommandsEnd(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, s *Store, ck *clock) {
		key := Command{Account: testScope.Account, Region: testScope.Region, ID: "c1", Status: "Pending", StatusDetails: "Pending", TargetCount: 2, RequestedAt: ck.now(), ExpiresAt: ck.now().Add(time.Hour)}
		update(t, s, func(tx *Tx) error {
			if err := tx.InsertCommand(key); err != nil {
				return err
			}
			for _, id := range []string{"mi-1", "mi-2"} {
				if err := tx.InsertInvocation(Invocation{Account: key.Account, Region: key.Region, CommandID: "c1", NodeID: id, Status: "Pending", StatusDetails: "Pending"}); err != nil {
					return err
				}
			}
			return tx.forgetWaiting()
		})
		view(t, s, func(tx *Tx) error {
			c, err := tx.Command(testScope, "c1")
			if c.Status != "Failed" || c.CompletedCount != 2 {
				t.Errorf("restored command: %s, %d completed", c.Status, c.CompletedCount)
			}
			return err
		})
	})
}

// What a maintenance window of a restored database may have done already is not done again.
//
// proves R-36
func TestRestoredWindowsRunNothing(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, s *Store, ck *clock) {
		update(t, s, func(tx *Tx) error {
			for id, due := range map[string]time.Duration{"mw-past": -time.Minute, "mw-future": time.Minute} {
				if err := tx.Schedule("window-open", testScope, id, ck.now().Add(due)); err != nil {
					return err
				}
			}
			if _, err := tx.InsertWindowExecution(testScope, WindowExecution{ID: "e", WindowID: "mw-past", DueAt: ck.now(), Status: "IN_PROGRESS", StartedAt: ck.now()}); err != nil {
				return err
			}
			if err := tx.InsertWindowTaskExecution(testScope, WindowTaskExecution{ExecutionID: "e", ID: "t", Status: "PENDING"}); err != nil {
				return err
			}
			if err := tx.InsertWindowInvocation(testScope, WindowInvocation{ExecutionID: "e", TaskExecutionID: "t", ID: "v", Status: "PENDING"}); err != nil {
				return err
			}
			return tx.forgetWaiting()
		})
		ck.add(2 * time.Minute)
		update(t, s, func(tx *Tx) error {
			e, err := tx.WindowExecution(testScope, "e")
			if err != nil || e.Status != "CANCELLED" || e.EndedAt.IsZero() {
				t.Errorf("the execution under way is %+v, %v", e, err)
			}
			tasks, err := tx.WindowTaskExecutions(testScope, "e")
			if err != nil || len(tasks) != 1 || tasks[0].Status != "CANCELLED" {
				t.Errorf("its tasks are %+v, %v", tasks, err)
			}
			invocations, err := tx.WindowInvocations(testScope, "e")
			if err != nil || len(invocations) != 1 || invocations[0].Status != "CANCELLED" {
				t.Errorf("its invocations are %+v, %v", invocations, err)
			}
			items, err := tx.ClaimWork(time.Minute, 10)
			got := map[string]string{}
			for _, w := range items {
				got[w.Subject] = w.Kind
			}
			if d := cmp.Diff(map[string]string{"mw-past": WorkSkipped, "mw-future": "window-open"}, got); d != "" {
				t.Errorf("work (-want +got):\n%s", d)
			}
			return err
		})
	})
}
