package store

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// tables lists every table in the order in which a copy is read back.
var tables = []string{
	"account", "access_key", "counter", "client_token", "tag", "activation", "node", "patch_baseline", "default_baseline", "patch_group",
	"snapshot", "content", "document", "document_version", "document_share", "command", "command_document", "invocation", "node_message", "work_item", "node_state",
	"scan_history", "patch_dict", "noncompliant",
	"compliance_set", "inventory_item", "custom_inventory_type", "inventory_deletion", "resource_data_sync", "data_sync_object", "resource_group",
	"service_setting", "available_patch", "available_set", "install_freeze", "maintenance_window", "window_part",
	"window_execution", "window_task_execution", "window_invocation",
	"association", "association_version", "association_execution", "association_node", "audit_event",
}

// dumpLine is one line of a copy: the head of a table, or a row of it.
type dumpLine struct {
	Table   string   `json:"table,omitempty"`
	Columns []string `json:"columns,omitempty"`
	Row     []any    `json:"row,omitempty"`
	Rows    *int64   `json:"rows,omitempty"` // closes a table: how many rows it had
	Schema  int64    `json:"schema,omitempty"`
}

// Dump writes all rows as they stand at one instant, as JSON lines that Load reads into either engine.
// The server may go on writing meanwhile.
func (s *Store) Dump(ctx context.Context, w io.Writer) error {
	out := bufio.NewWriterSize(w, 1<<16)
	enc := json.NewEncoder(out)
	version, err := s.schemaVersion(ctx)
	if err != nil {
		return err
	}
	if err := enc.Encode(dumpLine{Schema: version}); err != nil {
		return err
	}
	err = s.View(ctx, func(tx *Tx) error {
		for _, t := range tables {
			if err := tx.dumpTable(enc, t); err != nil {
				return fmt.Errorf("copy table %s: %w", t, err)
			}
		}
		return nil
	})
	return errors.Join(err, out.Flush())
}

func (tx *Tx) dumpTable(enc *json.Encoder, table string) error {
	var n int64
	var values, pointers []any
	var types []*sql.ColumnType
	err := tx.each(`SELECT * FROM `+table, nil, func(rows *sql.Rows) error {
		if n == 0 {
			columns, err := rows.Columns()
			if err != nil {
				return err
			}
			if types, err = rows.ColumnTypes(); err != nil {
				return err
			}
			if err := enc.Encode(dumpLine{Table: table, Columns: columns}); err != nil {
				return err
			}
			values, pointers = make([]any, len(columns)), make([]any, len(columns))
			for i := range values {
				pointers[i] = &values[i]
			}
		}
		n++
		if err := rows.Scan(pointers...); err != nil {
			return err
		}
		line := dumpLine{Row: make([]any, len(values))}
		for i, v := range values {
			switch x := v.(type) {
			case []byte:
				v = map[string]string{"b": base64.StdEncoding.EncodeToString(x)}
			case int64:
				if types[i].DatabaseTypeName() == "BOOLEAN" { // SQLite has none of its own
					v = x != 0
				}
			}
			line.Row[i] = v
		}
		return enc.Encode(line)
	})
	if err != nil || n == 0 {
		return err
	}
	return enc.Encode(dumpLine{Table: table, Rows: &n})
}

// Load reads a copy into this empty database. Nothing that was waiting to be sent is sent again: commands not
// yet handed out end as Terminated, those under way wait for the node's own report.
func (s *Store) Load(ctx context.Context, r io.Reader) error {
	dec := json.NewDecoder(bufio.NewReaderSize(r, 1<<16))
	dec.UseNumber()
	var head dumpLine
	if err := dec.Decode(&head); err != nil {
		return fmt.Errorf("read copy: %w", err)
	}
	version, err := s.schemaVersion(ctx)
	if err != nil {
		return err
	}
	if head.Schema > version {
		return fmt.Errorf("%w: the copy's schema is %d, this oakum knows %d", ErrNewer, head.Schema, version)
	}
	return s.Update(ctx, func(tx *Tx) error {
		if n, err := scalar[int64](tx, `SELECT count(*) FROM account`); err != nil || n > 0 {
			return errors.Join(err, errors.New("the database is not empty"))
		}
		if err := tx.loadTables(dec); err != nil {
			return err
		}
		return tx.forgetWaiting()
	})
}

func (tx *Tx) loadTables(dec *json.Decoder) error {
	known := map[string]bool{}
	for _, t := range tables {
		known[t] = true
	}
	var insert, table string
	var columns int
	var n int64
	for {
		var line dumpLine
		if err := dec.Decode(&line); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("read copy: %w", err)
		}
		switch {
		case line.Rows != nil:
			if line.Table != table || *line.Rows != n {
				return fmt.Errorf("read copy: table %s has %d of %d rows", table, n, *line.Rows)
			}
			insert = ""
		case line.Table != "":
			if !known[line.Table] || insert != "" {
				return fmt.Errorf("read copy: unexpected table %q", line.Table)
			}
			for _, c := range line.Columns {
				if strings.Trim(c, "abcdefghijklmnopqrstuvwxyz_0123456789") != "" {
					return fmt.Errorf("read copy: column %q", c)
				}
			}
			table, columns, n = line.Table, len(line.Columns), 0
			insert = `INSERT INTO ` + table + ` (` + strings.Join(line.Columns, ", ") + `) VALUES (` + placeholders(1, columns) + `)`
		default:
			if insert == "" || len(line.Row) != columns {
				return errors.New("read copy: a row outside a table")
			}
			for i, v := range line.Row {
				decoded, err := loadValue(v)
				if err != nil {
					return err
				}
				line.Row[i] = decoded
			}
			n++
			if _, err := tx.exec(insert, line.Row...); err != nil {
				return fmt.Errorf("table %s: %w", table, err)
			}
		}
	}
	if insert != "" {
		return fmt.Errorf("read copy: it ends inside table %s", table)
	}
	return nil
}

func loadValue(v any) (any, error) {
	switch v := v.(type) {
	case json.Number:
		return v.Int64()
	case map[string]any:
		b, ok := v["b"].(string)
		if !ok {
			return nil, errors.New("read copy: unknown value")
		}
		return base64.StdEncoding.DecodeString(b)
	}
	return v, nil
}

// forgetWaiting makes sure that a restored database sends nothing that the original may have sent already.
func (tx *Tx) forgetWaiting() error {
	if _, err := tx.exec(`UPDATE invocation SET status = 'Cancelled', status_details = 'Terminated', ended_at = $1, claimed = TRUE,
		trace = 'not sent: the server was restored from a copy' WHERE ended_at = 0 AND delivered = FALSE AND (claimed = FALSE OR EXISTS (
			SELECT 1 FROM node_message m WHERE m.account = invocation.account AND m.region = invocation.region AND m.command_id = invocation.command_id
			AND m.node_id = invocation.node_id AND m.kind = 'send' AND m.first_offered_at = 0))`, at(tx.now)); err != nil {
		return err
	}
	for _, q := range []string{`DELETE FROM node_message`, `DELETE FROM data_sync_object`} { // buckets are no part of a copy: they are written anew
		if _, err := tx.exec(q); err != nil {
			return err
		}
	}
	if _, err := tx.exec(`UPDATE command SET completed_count = (SELECT count(*) FROM invocation v WHERE v.account = command.account
		AND v.region = command.region AND v.command_id = command.id AND v.ended_at <> 0), claimed_count = target_count
		WHERE status IN ('Pending', 'InProgress', 'Cancelling')`); err != nil {
		return err
	}
	_, err := tx.exec(`UPDATE command SET status = CASE WHEN cancel_requested THEN 'Cancelled' ELSE 'Failed' END,
		status_details = CASE WHEN cancel_requested THEN 'Cancelled' ELSE 'Incomplete' END
		WHERE status IN ('Pending', 'InProgress', 'Cancelling') AND completed_count = target_count`)
	if err != nil {
		return err
	}
	if err := tx.forgetWindows(); err != nil {
		return err
	}
	return tx.forgetAssociations()
}
