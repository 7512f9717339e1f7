package node

import (
	"context"
	"slices"
	"strings"
	"time"

	"oakum.dev/arn"
	"oakum.dev/awserr"
	"oakum.dev/internal/store"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// filter is one condition on nodes: any of the values.
type filter struct {
	key    string
	values []string
	tagged map[string]bool // for tag filters: the ids that carry the tag
}

// DescribeInstanceInformation lists managed nodes by id.
func (s *Service) DescribeInstanceInformation(ctx context.Context, in *ssm.DescribeInstanceInformationInput) (*ssm.DescribeInstanceInformationOutput, error) {
	filters, err := nodeFilters(in)
	if err != nil {
		return nil, err
	}
	pg, err := s.pages.Open(ctx, "DescribeInstanceInformation", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	sc, now := store.ScopeOf(ctx), s.now()
	out := &ssm.DescribeInstanceInformationOutput{InstanceInformationList: []ssm.InstanceInformation{}}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		for i := range filters {
			if err := resolveTag(tx, sc, &filters[i]); err != nil {
				return err
			}
		}
		after := pg.At(0)
		for {
			rows, err := tx.Nodes(sc, after, 500)
			if err != nil || len(rows) == 0 {
				return err
			}
			s.Lay(rows)
			for _, n := range rows {
				if !matches(filters, n, now) {
					after = n.ID
					continue
				}
				if len(out.InstanceInformationList) == pg.Size {
					out.NextToken = pg.Next(after)
					return nil
				}
				info := information(n, now)
				if err := associations(tx, sc, &info); err != nil {
					return err
				}
				after = n.ID
				if takesAssociations(filters, codec.Value(info.AssociationStatus)) {
					out.InstanceInformationList = append(out.InstanceInformationList, info)
				}
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func resolveTag(tx *store.Tx, sc store.Scope, f *filter) error {
	var ids []string
	var err error
	if key, ok := strings.CutPrefix(f.key, "tag:"); ok {
		ids, err = tx.TaggedWith(sc, resourceNode, key, f.values)
	} else if f.key == "tag-key" {
		for _, key := range f.values {
			var more []string
			if more, err = tx.TaggedKey(sc, resourceNode, key); err != nil {
				return err
			}
			ids = append(ids, more...)
		}
	} else {
		return nil
	}
	f.tagged = map[string]bool{}
	for _, id := range ids {
		f.tagged[id] = true
	}
	return err
}

// filterNames maps the keys of both filter lists to one name each.
var filterNames = map[string]string{
	"ActivationIds": "ActivationIds", "AgentVersion": "AgentVersion", "AssociationStatus": "AssociationStatus", "IamRole": "IamRole",
	"InstanceIds": "InstanceIds", "PingStatus": "PingStatus", "PlatformType": "PlatformTypes", "PlatformTypes": "PlatformTypes",
	"ResourceType": "ResourceType", "SourceIds": "SourceIds", "SourceTypes": "SourceTypes",
}

func nodeFilters(in *ssm.DescribeInstanceInformationInput) ([]filter, error) {
	if len(in.Filters) > 0 && len(in.InstanceInformationFilterList) > 0 {
		return nil, awserr.Validation("Filters and InstanceInformationFilterList cannot be given together")
	}
	var out []filter
	for _, f := range in.InstanceInformationFilterList {
		out = append(out, filter{key: codec.Value(f.Key), values: f.ValueSet})
	}
	for _, f := range in.Filters {
		out = append(out, filter{key: codec.Value(f.Key), values: f.Values})
	}
	tags, others := 0, 0
	for i, f := range out {
		if f.key == "tag-key" || strings.HasPrefix(f.key, "tag:") {
			tags++
			continue
		}
		others++
		name, ok := filterNames[f.key]
		if !ok {
			return nil, ssm.InvalidFilterKey("The specified key isn't valid: %s", f.key)
		}
		out[i].key = name
		for _, v := range f.values {
			if !validFilterValue(name, v) {
				if name == "InstanceIds" {
					return nil, ssm.InvalidInstanceId("Instance id %s is not valid", v)
				}
				return nil, ssm.InvalidInstanceInformationFilterValue("The specified filter value isn't valid: %s=%s", f.key, v)
			}
		}
	}
	if tags > 0 && others > 0 {
		return nil, ssm.InvalidFilterKey("Tag filters cannot be combined with other filters")
	}
	return out, nil
}

func validFilterValue(name, v string) bool {
	switch name {
	case "PingStatus":
		return slices.Contains([]string{"Online", "ConnectionLost", "Inactive"}, v)
	case "PlatformTypes":
		return slices.Contains([]string{"Windows", "Linux", "MacOS"}, v)
	case "ResourceType":
		return slices.Contains([]string{"ManagedInstance", "EC2Instance", "AWS::IoT::Thing"}, v)
	case "SourceTypes":
		return slices.Contains([]string{"AWS::EC2::Instance", "AWS::SSM::ManagedInstance", "AWS::IoT::Thing"}, v)
	case "InstanceIds":
		return arn.IsNodeID(v)
	case "AssociationStatus":
		return slices.Contains([]string{"Pending", "Success", "Failed"}, v)
	}
	return v != ""
}

func matches(filters []filter, n store.Node, now time.Time) bool {
	for _, f := range filters {
		if f.tagged != nil {
			if !f.tagged[n.ID] {
				return false
			}
			continue
		}
		var v string
		switch f.key {
		case "ActivationIds":
			v = n.ActivationID
		case "AgentVersion":
			v = n.AgentVersion
		case "IamRole":
			v = n.IamRole
		case "InstanceIds", "SourceIds":
			v = n.ID
		case "PingStatus":
			v = PingStatus(n, now)
		case "PlatformTypes":
			v = n.PlatformType
		case "ResourceType":
			v = "ManagedInstance"
		case "SourceTypes":
			v = "AWS::SSM::ManagedInstance"
		case "AssociationStatus": // takesAssociations
			continue
		}
		if !slices.Contains(f.values, v) {
			return false
		}
	}
	return true
}

func information(n store.Node, now time.Time) ssm.InstanceInformation {
	out := ssm.InstanceInformation{
		InstanceId: &n.ID, ActivationId: &n.ActivationID, IamRole: &n.IamRole, RegistrationDate: codec.NewTime(n.RegisteredAt),
		ResourceType: new("ManagedInstance"), SourceId: &n.ID, SourceType: new("AWS::SSM::ManagedInstance"),
	}
	set := func(to **string, v string) {
		if v != "" {
			*to = &v
		}
	}
	set(&out.PingStatus, PingStatus(n, now))
	set(&out.AgentVersion, n.AgentVersion)
	set(&out.PlatformType, n.PlatformType)
	set(&out.PlatformName, n.PlatformName)
	set(&out.PlatformVersion, n.PlatformVersion)
	set(&out.Name, n.Name)
	set(&out.IPAddress, n.IPAddress)
	set(&out.ComputerName, n.ComputerName)
	if !n.LastPingAt.IsZero() {
		out.LastPingDateTime = codec.NewTime(n.LastPingAt)
	}
	return out
}

// takesAssociations is matches for the filter by the status of associations.
func takesAssociations(filters []filter, status string) bool {
	return !slices.ContainsFunc(filters, func(f filter) bool { return f.key == "AssociationStatus" && !slices.Contains(f.values, status) })
}

// associations adds how State Manager's associations stand on a node; where none has run there is nothing to say.
func associations(tx *store.Tx, sc store.Scope, info *ssm.InstanceInformation) error {
	counts := map[string]int64{}
	status, last, good := "Success", time.Time{}, time.Time{}
	for after := ""; ; {
		list, err := tx.AssociationsOn(sc, codec.Value(info.InstanceId), after, 500)
		if err != nil {
			return err
		}
		for _, a := range list {
			after = a.AssociationID
			counts[a.Status]++
			if a.RunAt.After(last) {
				last = a.RunAt
			}
			if a.Status == "Success" && a.RunAt.After(good) {
				good = a.RunAt
			}
			switch {
			case a.Status == "Pending":
				status = "Pending"
			case a.Status != "Success" && a.Status != "Skipped" && status != "Pending":
				status = "Failed"
			}
		}
		if len(list) == 0 {
			break
		}
	}
	if len(counts) == 0 {
		return nil
	}
	info.AssociationStatus, info.LastAssociationExecutionDate = &status, codec.NewTime(last)
	info.AssociationOverview = &ssm.InstanceAggregatedAssociationOverview{DetailedStatus: &status, InstanceAssociationStatusAggregatedCount: counts}
	if !good.IsZero() {
		info.LastSuccessfulAssociationExecutionDate = codec.NewTime(good)
	}
	return nil
}

// GetConnectionStatus says whether a node is connected.
func (s *Service) GetConnectionStatus(ctx context.Context, in *ssm.GetConnectionStatusInput) (*ssm.GetConnectionStatusOutput, error) {
	sc, id := store.ScopeOf(ctx), codec.Value(in.Target)
	var rows []store.Node
	if err := s.store.View(ctx, func(tx *store.Tx) (err error) { rows, err = tx.NodesByID(sc, []string{id}); return err }); err != nil {
		return nil, err
	}
	s.Lay(rows)
	status := "notconnected"
	if len(rows) == 1 && PingStatus(rows[0], s.now()) == "Online" {
		status = "connected"
	}
	return &ssm.GetConnectionStatusOutput{Target: &id, Status: &status}, nil
}
