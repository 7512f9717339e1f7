package cli

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/spf13/cobra"

	"oakum.dev/inventory"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/oakum"
)

// inventoryQuery is what "oakum inventory" is asked.
type inventoryQuery struct {
	typ     string
	where   []string
	countBy []string
	node    string
	all     bool
}

// inventoryRow is one entry of one node, as it is shown.
type inventoryRow struct {
	InstanceId  string //nolint:revive // the API's name
	Name        string
	CaptureTime string
	Entry       map[string]string
}

func newInventoryCommand(s *Streams) *cobra.Command {
	var q inventoryQuery
	cmd, o := clientCommand(&cobra.Command{
		Use:   "inventory [TYPE]",
		Short: "Show what nodes have reported of an inventory type, such as their packages",
		Long: `Show what nodes have reported of an inventory type: which have an openssl older than that, which do not run a service,
how many there are of each version. TYPE is a type such as AWS:Application or, in short, Application; without it the types are
listed with the number of nodes that have reported them.

--where asks for an attribute of the type, or of another one by TYPE.ATTRIBUTE, and may be given several times: all must hold,
those of one type for the same entry, and --count-by counts nodes by the entries that pass. The comparisons are = != ^= (begins
with) < and >; versions compare as package managers compare them. A != alone finds the nodes that have no such entry at all,
among those that have reported the type.`,
		Example: `  oakum inventory
  oakum inventory Application --where Name=openssl --where 'Version<3.0.11-1~deb12u2'
  oakum inventory Application --where Name=openssl --count-by Version
  oakum inventory Service --where Status=Failed --where InstanceInformation.PlatformName='Debian GNU/Linux' --output json`,
		Args: argRange(0, 1, "TYPE"),
	})
	f := cmd.Flags()
	f.StringArrayVar(&q.where, "where", nil, "only entries with `ATTRIBUTE=VALUE[,VALUE]`; also != ^= < >")
	f.StringSliceVar(&q.countBy, "count-by", nil, "count nodes by the values of these `ATTRIBUTES`")
	f.StringVar(&q.node, "node", "", "only `NODE`: an id, a name or a computer name")
	f.BoolVar(&q.all, "all-attributes", false, "show every attribute in the table")
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var names []string
		for _, t := range inventory.Types() {
			names = append(names, strings.TrimPrefix(t.Name, "AWS:"))
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	noError(cmd.RegisterFlagCompletionFunc("node", completeNodes(o, 1)))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 && (len(q.where) > 0 || len(q.countBy) > 0 || q.node != "") {
			return usageHint("--where, --count-by and --node go with a TYPE", `"oakum inventory" lists the types`)
		}
		if len(args) == 1 {
			q.typ = typeName(args[0])
		}
		filters, err := q.filters()
		if err != nil {
			return err
		}
		c, err := o.connect(cmd.Context(), "inventory")
		if err != nil {
			return err
		}
		switch {
		case q.typ == "":
			return c.explain(listInventoryTypes(cmd.Context(), s, o, c))
		case len(q.countBy) > 0:
			return c.explain(countInventory(cmd.Context(), s, o, c, &q, filters))
		}
		return c.explain(showInventory(cmd.Context(), s, o, c, &q, filters))
	}
	return cmd
}

// typeName is an inventory type by its name or, of AWS's, what stands after the colon.
func typeName(text string) string {
	for _, t := range inventory.Types() {
		if strings.EqualFold(t.Name, text) || strings.EqualFold(t.Name, "AWS:"+text) {
			return t.Name
		}
	}
	return text
}

// comparisons are what --where can ask, longest first.
var comparisons = []struct {
	sign string
	op   types.InventoryQueryOperatorType
}{
	{"!=", types.InventoryQueryOperatorTypeNotEqual},
	{"^=", types.InventoryQueryOperatorTypeBeginWith},
	{"=", types.InventoryQueryOperatorTypeEqual},
	{"<", types.InventoryQueryOperatorTypeLessThan},
	{">", types.InventoryQueryOperatorTypeGreaterThan},
}

// filters reads --where, so that mistakes are seen before anything is asked.
func (q *inventoryQuery) filters() ([]types.InventoryFilter, error) {
	if q.typ != "" {
		if err := inventory.CheckAttribute(q.typ, ""); err != nil {
			return nil, usageHint(err.Error(), `"oakum inventory" lists the types that nodes have reported`)
		}
	}
	for i, a := range q.countBy {
		q.countBy[i] = q.key(a)
		if err := inventory.CheckAttribute(inventory.SplitKey(q.countBy[i])); err != nil {
			return nil, usage("--count-by: %v", err)
		}
	}
	var out []types.InventoryFilter
	for _, text := range q.where {
		at, which := len(text), -1
		for i, c := range comparisons {
			if n := strings.Index(text, c.sign); n > 0 && n < at {
				at, which = n, i
			}
		}
		if which < 0 {
			return nil, usage("--where is ATTRIBUTE=VALUE, with = != ^= < or >, not %q", text)
		}
		c := comparisons[which]
		if strings.HasPrefix(text[at+len(c.sign):], "=") {
			return nil, usage("--where knows = != ^= < and >, not %q", text[at:at+len(c.sign)+1])
		}
		key, values := q.key(strings.TrimSpace(text[:at])), strings.Split(strings.TrimSpace(text[at+len(c.sign):]), ",")
		if _, err := inventory.ParseFilter(key, string(c.op), values); err != nil {
			return nil, usage("--where: %v", err)
		}
		out = append(out, types.InventoryFilter{Key: &key, Type: c.op, Values: values})
	}
	return out, nil
}

// key is TYPE.ATTRIBUTE of an attribute that may come without its type.
func (q *inventoryQuery) key(text string) string {
	typ, attribute, ok := strings.Cut(text, ".")
	if !ok {
		return q.typ + "." + text
	}
	return typeName(typ) + "." + attribute
}

// names are what people call the nodes, by id.
func (c *Client) names(ctx context.Context) (map[string]string, error) {
	out := map[string]string{}
	err := c.nodes(ctx, nil, func(n oakum.Node) bool { out[codec.Value(n.InstanceId)] = nodeLabel(&n); return true })
	return out, err
}

// narrowTo adds the filter of one node.
func (c *Client) narrowTo(ctx context.Context, q *inventoryQuery, filters []types.InventoryFilter) ([]types.InventoryFilter, error) {
	if q.node == "" {
		return filters, nil
	}
	n, err := c.findNode(ctx, q.node)
	if err != nil {
		return nil, err
	}
	return append(filters, types.InventoryFilter{Key: aws.String(inventory.InstanceInformation + ".InstanceId"), Values: []string{codec.Value(n.InstanceId)}}), nil
}

func listInventoryTypes(ctx context.Context, s *Streams, o *clientOptions, c *Client) error {
	var all []types.InventoryItemSchema
	pages := ssm.NewGetInventorySchemaPaginator(c.SSM, &ssm.GetInventorySchemaInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		all = append(all, page.Schemas...)
	}
	counts := map[string]string{}
	for part := range slices.Chunk(all, 10) { // as many groups as one question takes
		var groups []types.InventoryGroup
		for _, t := range part {
			groups = append(groups, types.InventoryGroup{Name: t.TypeName, Filters: []types.InventoryFilter{{Key: aws.String("TypeName"), Type: types.InventoryQueryOperatorTypeExists, Values: []string{*t.TypeName}}}})
		}
		out, err := c.SSM.GetInventory(ctx, &ssm.GetInventoryInput{Aggregators: []types.InventoryAggregator{{Groups: groups}}})
		if err != nil {
			return err
		}
		for _, e := range out.Entities {
			for _, item := range e.Data {
				for _, row := range item.Content {
					counts[row["Name"]] = row["matchingCount"]
				}
			}
		}
	}
	rows := [][]string{{"TYPE", "VERSION", "NODES", "ATTRIBUTES"}}
	type answer struct {
		TypeName, Version string
		Nodes             int
		Attributes        []string
	}
	var list []answer
	for _, t := range all {
		n, _ := strconv.Atoi(counts[*t.TypeName]) // the server's own number
		a := answer{TypeName: *t.TypeName, Version: aws.ToString(t.Version), Nodes: n}
		for _, x := range t.Attributes {
			a.Attributes = append(a.Attributes, *x.Name)
		}
		list = append(list, a)
		if n > 0 || o.output == "csv" {
			rows = append(rows, []string{a.TypeName, a.Version, strconv.Itoa(n), strings.Join(a.Attributes, " ")})
		}
	}
	switch o.output {
	case "json":
		return writeJSON(s.Out, map[string]any{"Types": list})
	case "csv":
		rows[0] = []string{"TypeName", "Version", "Nodes", "Attributes"}
		return writeCSV(s.Out, rows)
	}
	o.table(s, rows, "ATTRIBUTES", "VERSION")
	return nil
}

func countInventory(ctx context.Context, s *Streams, o *clientOptions, c *Client, q *inventoryQuery, filters []types.InventoryFilter) error {
	filters, err := c.narrowTo(ctx, q, filters)
	if err != nil {
		return err
	}
	rows, err := c.counts(ctx, q, filters)
	if err != nil {
		return err
	}
	slices.SortStableFunc(rows, func(x, y map[string]string) int {
		n, _ := strconv.Atoi(x["Count"])
		m, _ := strconv.Atoi(y["Count"])
		return m - n
	})
	if o.output == "json" {
		return writeJSON(s.Out, map[string]any{"Counts": rows})
	}
	head := []string{"NODES"}
	var columns []string
	for _, k := range q.countBy {
		_, attribute := inventory.SplitKey(k)
		if slices.Contains(columns, attribute) { // as the server names the second of a name
			attribute = k
		}
		columns = append(columns, attribute)
		head = append(head, heading(o, attribute))
	}
	if o.output == "csv" {
		head[0] = "Count"
	}
	table := [][]string{head}
	for _, r := range rows {
		line := []string{r["Count"]}
		for _, k := range columns {
			line = append(line, r[k])
		}
		table = append(table, line)
	}
	if o.output == "csv" {
		return writeCSV(s.Out, table)
	}
	o.table(s, table)
	return nil
}

// counts are the nodes by the values of what --count-by names. The server's aggregators count all entries of the nodes that
// pass; what --where says of the type that is counted is about entries, so there the entries that pass are counted here.
func (c *Client) counts(ctx context.Context, q *inventoryQuery, filters []types.InventoryFilter) ([]map[string]string, error) {
	for _, f := range filters {
		for _, k := range q.countBy {
			typ, _ := inventory.SplitKey(k)
			if filtered, _ := inventory.SplitKey(*f.Key); filtered == typ {
				return c.countEntries(ctx, q, filters)
			}
		}
	}
	var a *types.InventoryAggregator
	for _, k := range slices.Backward(q.countBy) {
		outer := types.InventoryAggregator{Expression: &k}
		if a != nil {
			outer.Aggregators = []types.InventoryAggregator{*a}
		}
		a = &outer
	}
	out, err := c.SSM.GetInventory(ctx, &ssm.GetInventoryInput{Filters: filters, Aggregators: []types.InventoryAggregator{*a}})
	if err != nil {
		return nil, err
	}
	rows := []map[string]string{}
	for _, e := range out.Entities {
		for _, item := range e.Data {
			rows = append(rows, item.Content...)
		}
	}
	return rows, nil
}

// countEntries counts as the server's aggregators do, but only the entries that pass the filters.
func (c *Client) countEntries(ctx context.Context, q *inventoryQuery, filters []types.InventoryFilter) ([]map[string]string, error) {
	var a *inventory.Aggregator
	for _, k := range slices.Backward(q.countBy) {
		outer := inventory.Aggregator{}
		outer.Type, outer.Attribute = inventory.SplitKey(k)
		if a != nil {
			outer.Nested = []inventory.Aggregator{*a}
		}
		a = &outer
	}
	if err := a.Check(); err != nil {
		return nil, usage("--count-by: %v", err)
	}
	counter := inventory.NewCounter(*a)
	waiting := map[string]map[string][]inventory.Entry{} // by node, what is known before its last type
	list := counter.Types()
	for i, typ := range list { // one question answers one type
		pages := ssm.NewGetInventoryPaginator(c.SSM, &ssm.GetInventoryInput{Filters: filters, ResultAttributes: []types.ResultAttribute{{TypeName: &typ}}})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, err
			}
			for _, e := range page.Entities {
				id := aws.ToString(e.Id)
				if waiting[id] == nil {
					waiting[id] = map[string][]inventory.Entry{}
				}
				waiting[id][typ] = e.Data[typ].Content
				if i < len(list)-1 {
					continue
				}
				if err := counter.Add(waiting[id]); err != nil {
					return nil, err
				}
				delete(waiting, id)
			}
		}
	}
	return counter.Rows(), nil
}

func heading(o *clientOptions, attribute string) string {
	if o.output == "csv" {
		return attribute
	}
	return strings.ToUpper(attribute)
}

// shortColumns are what a table shows of types that have more than fits.
var shortColumns = map[string][]string{
	"AWS:Application": {"Name", "Epoch", "Version", "Release", "Architecture"}, "AWS:AWSComponent": {"Name", "Version", "Architecture"},
	"AWS:File": {"InstalledDir", "Name", "Size", "ModificationTime"}, "AWS:Network": {"Name", "IPV4", "IPV6", "MacAddress", "Gateway"},
	"AWS:Service":           {"Name", "Status", "StartType", "DisplayName"},
	"AWS:ComplianceItem":    {"Id", "Title", "Status", "Severity", "PatchState"},
	"AWS:ComplianceSummary": {"ComplianceType", "Status", "OverallSeverity", "ExecutionTime"},
	"AWS:PatchSummary":      {"BaselineId", "OperationType", "InstalledCount", "MissingCount", "FailedCount", "OperationEndTime"},
}

func showInventory(ctx context.Context, s *Streams, o *clientOptions, c *Client, q *inventoryQuery, filters []types.InventoryFilter) error {
	filters, err := c.narrowTo(ctx, q, filters)
	if err != nil {
		return err
	}
	names, err := c.names(ctx)
	if err != nil {
		return err
	}
	rows := []inventoryRow{}
	nodes, silent := 0, 0
	pages := ssm.NewGetInventoryPaginator(c.SSM, &ssm.GetInventoryInput{Filters: filters, ResultAttributes: []types.ResultAttribute{{TypeName: &q.typ}}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, e := range page.Entities {
			item, ok := e.Data[q.typ]
			if !ok {
				silent++
				continue
			}
			nodes++
			for _, entry := range item.Content {
				rows = append(rows, inventoryRow{aws.ToString(e.Id), names[aws.ToString(e.Id)], aws.ToString(item.CaptureTime), entry})
			}
		}
	}
	if o.output == "json" {
		return writeJSON(s.Out, map[string]any{"TypeName": q.typ, "Entries": rows})
	}
	columns := inventoryColumns(q, rows, o.output == "csv")
	head := []string{"NODE", "NAME"}
	if o.output == "csv" {
		head = []string{"InstanceId", "NodeName"}
	}
	for _, k := range columns {
		h := heading(o, k)
		if h == "NAME" {
			h = "ENTRY"
		}
		head = append(head, h)
	}
	table := [][]string{head}
	for _, r := range rows {
		line := []string{r.InstanceId, r.Name}
		for _, k := range columns {
			line = append(line, r.Entry[k])
		}
		table = append(table, line)
	}
	if o.output == "csv" {
		return writeCSV(s.Out, table)
	}
	if len(rows) > 0 {
		o.table(s, table, "DISPLAYNAME", "EXECUTIONTIME", "MACADDRESS", "NODE", "ARCHITECTURE")
	}
	o.say(s, "%s of %s on %s", plural(len(rows), "entry", "entries"), q.typ, plural(nodes, "node", "nodes"))
	if silent > 0 {
		o.say(s, "oakum: note: %s reported nothing of %s", plural(silent, "node has", "nodes have"), q.typ)
	}
	return nil
}

// inventoryColumns are the attributes that are shown: those of the type, or all that there are, without empty ones.
func inventoryColumns(q *inventoryQuery, rows []inventoryRow, all bool) []string {
	used := map[string]bool{}
	for _, r := range rows {
		for k, v := range r.Entry {
			used[k] = used[k] || v != ""
		}
	}
	var columns []string
	if short := shortColumns[q.typ]; short != nil && !all && !q.all {
		columns = slices.Clone(short)
		for _, w := range q.where { // what was asked about is shown
			at := strings.IndexAny(w, "=!^<>")
			if a := strings.TrimSpace(w[:max(at, 0)]); used[a] && !slices.Contains(columns, a) {
				columns = append(columns, a)
			}
		}
	} else if t, ok := inventory.Lookup(q.typ); ok {
		for _, a := range t.Attributes {
			columns = append(columns, a.Name)
		}
	}
	var more []string
	for k := range used {
		if _, known := inventory.Lookup(q.typ); !slices.Contains(columns, k) && (!known || all || q.all) {
			more = append(more, k)
		}
	}
	slices.SortFunc(more, cmp.Compare[string])
	return slices.DeleteFunc(append(columns, more...), func(k string) bool { return !used[k] })
}
