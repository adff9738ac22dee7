"""Where pictures come from: the table of data sets, and one module for each kind of file or folder."""
