from pomelo_lab.results.show import folder_name


def test_folders_keep_other_questions_apart():
    assert folder_name("quick", ["scale=quick", "paths.outputs=/x", "force=true"]) == "quick"
    assert folder_name("quick", ["dataset=digits", "seed=0,1"]) == "quick,dataset=digits,seed=0,1"
