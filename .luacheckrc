std = "lua54"
max_line_length = 96
exclude_files = { "build", "types" }
files["spec"].std = "+busted"
