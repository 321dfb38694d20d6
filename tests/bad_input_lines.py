"""What each malformed input of `test_bad_input.py` is answered with: value and fix."""

LINES = {
    "empty file": r"is empty \(0 bytes\); fetch it again",
    "text": r"not a NIfTI file \(20 bytes, no NIfTI header\); convert it",
    "header alone, cut": r"not a NIfTI file \(200 bytes",
    "voxels cut": (
        r"shorter than its header .*Expected 512 bytes, got 412.*; fetch it again"
    ),
    "one axis": r"has shape \(8,\), expected two to four .*; convert the file",
    "five axes": (
        r"has shape \(8, 8, 2, 1, 2\), expected two to four .*; convert the file"
    ),
    "nine axes": r"no NIfTI header\); convert it",
    "an axis of length 0": r"has shape \(8, 0, 4\), expected .*; convert the file",
    "a negative axis": r"has shape \(8, -8, 4\), expected .*; convert the file",
    "huge axes": (
        r"says 32767 x 32767 x 32767 voxels, .* GiB in memory.*: crop the file"
    ),
    "voxels that begin beyond the end": (
        r"shorter than its header .*got 0 bytes.*fetch it again"
    ),
    "voxels that begin at NaN": r"from byte nan; .*repair the header",
    "an unknown type of voxels": (
        r"of type 12345 \(unknown\), expected real .*; convert it"
    ),
    "colours": r"of type 128 \(colours\), expected real .*; convert it",
    "complex voxels": r"of type 32 \(complex64\), expected real .*; convert it",
    "voxel size 0": r"header is 0 x 1 x 1 mm, .*; repair the header's pixdim",
    "voxel size NaN": r"header is nan x 1 x 1 mm, .*; repair the header's pixdim",
    "voxel size infinite": r"header is inf x 1 x 1 mm, .*; repair the header's pixdim",
    "negative voxel size": r"header is -1 x 1 x 1 mm, .*; repair the header's pixdim",
    "an affine of zeros": r"affine is not invertible .*; repair the header's sform",
    "a header extension that is cut": r"failed to read extension.*; fetch it again",
    "voxels of a file that goes on": (
        r"more than 1049440 bytes, .* header says; fetch it"
    ),
    "scaled voxels beyond the memory": r"256 x 2048 x 2000 voxels, 7.81 GiB in memory",
    "gzip in name only": (
        r"damaged after 864 bytes .*incorrect header check.*; fetch it"
    ),
    "gzip, truncated": r"gzip data are truncated after \d+ bytes .*; fetch it again",
    "gzip, damaged": r"gzip data are damaged after \d+ bytes .*data check.*; fetch it",
    "gzip bomb": r"unpacks to more than 1049440 bytes, .*; fetch it again",
    "gzip, not NIfTI": r"not a NIfTI file \(5 bytes, .*; convert it",
    "labels: an id too large": (
        r"slice 0 holds label id 9 .*; allowed are 0 background, 1 LV"
    ),
    "labels: negative ids": r"slice 0 holds label id -1 .*; allowed are 0 background",
    "labels: interpolated ids": (
        r"the value 0.5, expected whole .* Use nearest neighbour"
    ),
    "labels: NaN ids": r"the value nan, expected whole numbers",
    "labels: infinite ids": r"the value inf, expected whole numbers",
    "labels: ids beyond all whole numbers": r"the value 1e\+30, expected whole numbers",
    "labels: background only": (
        r"background only, in all 1 frame\(s\); give a file with lab"
    ),
    "table: empty table": r"holds no text; save the table as CSV in UTF-8",
    "table: binary table": (
        r"not a text file in UTF-8 or Latin-1; save the table as CSV"
    ),
    "table: a column missing": r"has no column centre; expected image, label, subject",
    "table: a column twice": r"has two columns image; keep one",
    "table: a header alone": r"holds no row; expected a row for each phase",
    "table: a file that is not there": (
        r"line 2: p1: image none.nii.gz: no such .*; correct it"
    ),
    "table: a code with a slash": r"line 2: subject is '../../p1'; give a code without",
    "table: a code that is the folder above": (
        r"line 2: subject is '..'; give a code without"
    ),
    "table: a cell of 200 kB": r"field larger than field limit.*; save it as CSV",
    "table: white space of other kinds": r"holds no text; save the table as CSV",
    "table: a name longer than names of files": r"line 2: p1: image x+\.\.\.: no such",
    "table: a code in two lines": r"line 3: subject is 'p\\n1'; give a code",
    "table: a code with a no-break space": (
        r"line 2: subject is 'p1\\xa0x'; give a code .* no-break spaces"
    ),
    "table: a code of 129 characters": r"line 2: subject is '9+'; .* at most 128",
    "table: a vendor of 201 characters": (
        r"line 2: p1 has vendor 'v+\.\.\.; give a name of at most 200 characters"
    ),
    "table: a centre that cannot be printed": (
        r"line 2: p1 has centre 'Leeds\\u200b'; give a name .* can all be printed"
    ),
    "table: a column twice that cannot be printed": r"has two columns .*; keep one",
    "table: a comma that is not quoted": (
        r"line 2: has 7 cells, expected 6 .* into quotes"
    ),
    "table: a spacing that is a word": r"line 2: p1 has spacing 'fine', expected mm",
    "table: a phase of 9 kB": r"line 2: p1 has phase 'y+\.\.\.",
    "M&Ms table: a frame that is a word": (
        r"P0 has ED = 'first', expected the index .*; fill it"
    ),
    "M&Ms table: a negative frame": r"P0 has ED = '-1', expected the index of a frame",
    "M&Ms table: a subject twice": r"P0 has two different rows; keep one",
    "M&Ms table: no vendor": r"P0 has no Vendor; fill it in",
    "M&Ms table: a subject that is not named": r"P0 is not in .*t.csv; add a row",
    "M&Ms table: a code in two lines, twice": r"P 9 has two different rows; keep one",
    "M&Ms table: a vendor of 201 characters": (
        r"t.csv: P0 has Vendor 'v+\.\.\.; give a name of at most 200 characters"
    ),
    "M&Ms table: a centre that cannot be printed": (
        r"t.csv: P0 has Centre '1\\x07'; give a name .* can all be printed"
    ),
    "M&Ms table: a frame of 9 kB": r"P0 has ED = '9+\.\.\.",
    "schema: no JSON": r"not a JSON file \(Expecting property name.*; repair it",
    "schema: a JSON list": r'expected a JSON object with "name" and "class_names"',
    "schema: unknown keys": r"unknown colour; known are name, class_names, ids",
    "schema: one class": r"schema 'own' has 1 class\(es\); expected 2 to 256",
    "schema: no background": r"begins with 'LV', expected \"background\" first",
    "schema: background last": r"begins with 'LV', expected \"background\" first",
    "schema: no class": r"begins with '', expected \"background\" first",
    "schema: a class twice": r"names \['LV'\] more than once; give every class its own",
    "schema: no heart": r"has none of LV, MYO, RV: name at least one",
    "schema: 300 classes": r"has 300 class\(es\); expected 2 to 256",
    "schema: an id that is a word": r"ids has 'one', expected a number from 0 to 65535",
    "schema: an id of 10 digits": r"ids has '4000000000', expected a number from 0",
    "schema: an id twice": r"ids has 01 twice; keep one",
    "schema: a key twice": r"the key '1' is there twice.*; repair it",
    "schema: a class that is none": r"id 1 is 'liver', expected one of class_names",
    "schema: JSON 100,000 levels deep": r"not a JSON file \(maximum recursion",
    "schema: a number of 5000 digits": r"not a JSON file \(Exceeds the limit",
    "schema: a class in two lines": r"'a\\nb' is no name; give printable text",
    "schema: a class of 9 kB": r"'y+\.\.\. is no name|y+\.\.\.",
    "schema: a name that is no text": r"\[1\] is no name; give printable text",
    "schema: a name that cannot be printed": r"'own\\u200b' is no name; give printable",
    "schema: a name that is half a character": r"not a JSON file \(.*surrogates",
    "split: no such column": r"columns 'External code' and 'split', got code, split",
    "split: an unknown split": r"line 2: P0 has split 'holdout', expected one of train",
    "split: two splits": r"line 3: P0 is in train and in test; .* keep one line",
    "split: a code in two lines": r"line 3: P 0 has split 'holdout', expected one of",
    "split: a column of 9 kB": (
        r"columns 'External code' and 'split', got Ext.*y+\.\.\."
    ),
    "weights: text as .npz": (
        r"not a readable npz file \(File is not a zip.*; fetch it again"
    ),
    "weights: generator of another kind": r"not a readable npz file .*; fetch it again",
    "weights: unknown suffix": (
        r"unknown kind of file '.bin'; expected .safetensors, .pth"
    ),
    "weights: text as .safetensors": (
        r"not a readable safetensors file .*; fetch it again"
    ),
    "weights: another network": (
        r"has no head_0.norm_0.mlp_shared.0.weight; expected the state"
    ),
    "weights: VGG19 of another shape": r"w.npz: not written by .* Convert the original",
    "Info.cfg without frames": (
        r"ED is '', expected the number of a frame .*; fetch it again"
    ),
    "mapping: no JSON": r"not a JSON file .*; repair it",
    "manifest: no JSON": r"not a JSON file .*; repair it",
    "manifest: of something else": (
        r"not the manifest of a prepared folder; make one with"
    ),
    "model.json: no JSON": r"not a JSON file .*0xff.*; repair it or fetch it again",
    "reference: a constant image": (
        r"percentiles 1 and 99 are both 1: .*; give an image with"
    ),
    "reference: NaN": (
        r"256 of 256 values are NaN or infinite; give an image with contrast"
    ),
    "config: an unknown section": r"--config: .*dada",
    "config: an unknown setting": r"base_featurs.*base_features",
    "config: a word for a number": r"batch_size",
    "config: a word for yes or no": r"data.flip",
}
