package main

import (
	"io"
	"path/filepath"
	"slices"
)

// writeSARIF writes the findings in the form that code hosts show beside a file:
// SARIF 2.1.0 of OASIS.
func writeSARIF(to io.Writer, all []finding) error {
	type text struct {
		Text string `json:"text"`
	}
	type rule struct {
		ID    string `json:"id"`
		Short text   `json:"shortDescription"`
	}
	type region struct {
		StartLine int `json:"startLine"`
	}
	type artifact struct {
		URI string `json:"uri"`
	}
	type physical struct {
		Artifact artifact `json:"artifactLocation"`
		Region   *region  `json:"region,omitempty"`
	}
	type location struct {
		Physical physical `json:"physicalLocation"`
	}
	type result struct {
		Rule      string     `json:"ruleId"`
		Level     string     `json:"level"`
		Message   text       `json:"message"`
		Locations []location `json:"locations"`
	}
	type tool struct {
		Name    string `json:"name"`
		Version string `json:"version"`
		Rules   []rule `json:"rules"`
	}
	type driver struct {
		Driver tool `json:"driver"`
	}
	type run struct {
		Tool    driver   `json:"tool"`
		Results []result `json:"results"`
	}
	type log struct {
		Schema  string `json:"$schema"`
		Version string `json:"version"`
		Runs    []run  `json:"runs"`
	}
	r := run{Tool: driver{tool{Name: "clustersql lint", Version: version(), Rules: []rule{}}}, Results: []result{}}
	for _, f := range all {
		if !slices.ContainsFunc(r.Tool.Driver.Rules, func(r rule) bool { return r.ID == f.Rule }) {
			r.Tool.Driver.Rules = append(r.Tool.Driver.Rules, rule{f.Rule, text{rules[f.Rule]}})
		}
		message := f.Text
		if f.Where != "" {
			message = f.Where + ": " + message
		}
		p := physical{Artifact: artifact{filepath.ToSlash(f.File)}}
		if f.Line > 0 {
			p.Region = &region{f.Line}
		}
		r.Results = append(r.Results, result{f.Rule, f.Level, text{message}, []location{{p}}})
	}
	return writeJSON(to, log{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []run{r}})
}
