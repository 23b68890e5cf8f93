module gotmpl_oracle

go 1.24
